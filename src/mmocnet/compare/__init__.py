"""Two visits of one person: what is new, what has grown, what is not seen any more."""
