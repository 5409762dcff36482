from pydicom.sr._concepts_dict import concepts
from pydicom.sr.codedict import codes as tables

from mmocnet.io.dicom import codes
from mmocnet.locate.regions import REGIONS

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


def test_each_region_and_side_has_its_code():
    table = tables.SCT
    sites = {
        "frontal": table.FrontalLobe,
        "parietal": table.ParietalLobe,
        "temporal": table.TemporalLobe,
        "occipital": table.OccipitalLobe,
        "insula": table.Insula,
        "thalamus": table.Thalamus,
        "internal capsule": table.InternalCapsule,
        "external capsule": table.ExternalCapsule,
        "corpus callosum": table.CorpusCallosum,
        "deep and periventricular white matter": table.CerebralWhiteMatter,
        "brainstem": table.BrainStem,
        "cerebellum": table.Cerebellum,
    }
    assert _lower(codes.SITES) == _coded(sites)
    assert _lower(codes.SIDES) == _coded({"left": table.Left, "right": table.Right})


def test_all_regions_but_the_basal_ganglia_have_a_code():
    assert {one.name for one in REGIONS} - set(codes.SITES) == {"basal ganglia"}
    assert set(codes.SITES) <= {one.name for one in REGIONS}


def _lower(terms):
    return {name: (one.value, one.scheme, one.meaning.lower()) for name, one in terms.items()}


def _coded(terms):
    return {
        name: (one.value, one.scheme_designator, one.meaning.lower()) for name, one in terms.items()
    }
