"""What a training starts from: weights that its networks get before the first step."""

from mmocnet.config import TrainSettings
from mmocnet.nets.card import simulated_only
from mmocnet.nets.checkpoint import classifier_of, model_folder, start_from, weight_file
from mmocnet.nets.classifier import Classifier
from mmocnet.nets.detector import Detector
from mmocnet.nets.model_settings import model_card
from mmocnet.nets.pretrained import load_pretrained_encoder
from mmocnet.nets.segmenter import Segmenter


def start_detector(detector: Detector, settings: TrainSettings) -> None:
    """Put the weights that stage 1 starts from into it; without any it stays as it is.

    Raises:
        ModelError: If they do not fit.
        InputError: If the encoder's cannot be read.
    """
    if settings.pretrained_encoder is not None:
        load_pretrained_encoder(detector, settings.pretrained_encoder)
    if settings.start_from is not None:
        start_from(detector, model_folder(settings.start_from) / weight_file("detector"))


def start_segmenter(segmenter: Segmenter, settings: TrainSettings) -> None:
    """Put the weights that stage 2 starts from into it; without any it stays as it is.

    Raises:
        ModelError: If they do not fit.
    """
    if settings.start_from is not None:
        start_from(segmenter, model_folder(settings.start_from) / weight_file("segmenter"))


def start_classifier(classifier: Classifier, settings: TrainSettings) -> bool:
    """Put the weights that the classifier starts from into it; return whether there are any.

    Raises:
        ModelError: If they do not fit.
    """
    path = classifier_of(settings.start_from)
    if path is not None:
        start_from(classifier, path)
    return path is not None


def check_start(settings: TrainSettings) -> None:
    """Refuse weights to start from that do not fit: to be said before the work.

    Raises:
        ModelError: If they do not fit.
        InputError: If the encoder's cannot be read.
    """
    if settings.start_from is None and settings.pretrained_encoder is None:
        return
    cascade = settings.cascade
    start_detector(Detector(cascade.detector), settings)
    start_segmenter(Segmenter(cascade.segmenter), settings)
    if cascade.classifier is not None:
        start_classifier(Classifier(cascade.classifier), settings)


def knew_simulated(settings: TrainSettings) -> bool:
    """Return whether what a training starts from learned from simulated scans alone, or nothing.

    Raises:
        ModelError: If the card of a model to start from cannot be read.
    """
    if settings.start_from is not None:
        return simulated_only(model_card(model_folder(settings.start_from)))
    return settings.pretrained_encoder is None


def never_trained(settings: TrainSettings) -> tuple[str, ...]:
    """Return the stages whose weights are random and stay so.

    >>> never_trained(TrainSettings())
    ()
    """
    stages = {"stage 1": settings.detector, "stage 2": settings.segmenter}
    if settings.start_from is not None:
        return ()
    return tuple(name for name, stage in stages.items() if stage.max_epochs == 0)
