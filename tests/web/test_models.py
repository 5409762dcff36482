"""What the page says of the models to choose from."""

from dataclasses import replace

from mmocnet.web.models import model_json, read_model


def said_of_slices(model):
    return {point["name"]: point["slices"] for point in model_json(model, default=True)["points"]}


def test_single_slices_have_their_threshold_and_what_was_measured_on_them():
    model = read_model("standard")
    points = model.card["operating_points"]
    said = said_of_slices(model)
    for name, text in said.items():
        one = points["single_slices"][name]
        assert text.startswith(f"Single slices: {one['threshold']:.3f}. {points['slices']} simul")
        assert f"{100 * one['lesion_sensitivity']:.0f} %" in text
        assert f"{100 * one['lesion_precision']:.0f} %" in text
        assert f"{one['fp_per_scan']:.2f}" in text
    assert len(said) == 3


def test_a_model_without_a_classifier_judges_few_slices_as_single_ones():
    assert said_of_slices(read_model("compact"))["report"].startswith("Fewer than 8 slices: 0.996.")


def test_a_card_without_slices_leaves_the_threshold_alone():
    model = replace(read_model("standard"), card={})
    assert said_of_slices(model)["balanced"] == "Single slices: 0.035"


def test_where_slices_are_judged_as_volumes_are_nothing_is_said(tiny_model):
    assert set(said_of_slices(read_model(str(tiny_model))).values()) == {None}
