from pydicom.sr._concepts_dict import concepts

from mmocnet.io.dicom import codes
from mmocnet.locate.regions import REGIONS, SIDE_CODES

TERMS = [term for term in vars(codes).values() if isinstance(term, codes.Term)]


def test_every_code_is_in_the_tables_with_its_meaning():
    meanings = {}
    for scheme, terms in concepts.items():
        for names in terms.values():
            for code, (meaning, _) in names.items():
                meanings.setdefault((scheme, code), set()).add(meaning.lower())
    every = [*TERMS, *codes.SITES.values(), *codes.SIDES.values()]
    assert len(every) > 25
    for term in every:
        if term == codes.MICROBLEED:
            assert ("SCT", term.value) not in meanings
            continue
        known = meanings[(term.scheme, term.value)]
        assert any(one.startswith(term.meaning.lower()) for one in known), term


def test_sites_and_sides_are_those_of_the_regions():
    coded = {one.name: one.code.value for one in REGIONS if one.code is not None}
    assert {name: term.value for name, term in codes.SITES.items()} == coded
    assert {one: term.value for one, term in codes.SIDES.items()} == {
        one: code.value for one, code in SIDE_CODES.items()
    }
