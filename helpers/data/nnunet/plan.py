"""A plan of nnU-Net in one form for both versions, read from the files of either.

Sources: MIC-DKFZ/nnUNet v1.7.1 (experiment_planning, `plans.pkl`) and v2 (`plans.json` with `dataset.json`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from helpers.data.nnunet.labels import PlanLabels, labels_of_v2
from helpers.data.nnunet.network_plan import NetworkPlan, network_of_v2
from helpers.errors import DataError

_V1_SCHEMES = {"CT": "ct", "CT2": "ct2", "noNorm": "none"}  # any other name is z-scored
_V2_SCHEMES = {
    "CTNormalization": "ct",
    "ZScoreNormalization": "zscore",
    "NoNormalization": "none",
    "RescaleTo01Normalization": "rescale_to_01",
    "RGBTo01Normalization": "rgb_to_01",
}
_V1_LARGEST_WIDTH = {2: 480, 3: 320}
_RESAMPLING = "resample_data_or_seg_to_shape"


@dataclass(frozen=True)
class ChannelNorm:
    """How one channel is normalised.

    Attributes:
        scheme: "ct" (clip, then mean and sd of the training set's foreground), "ct2" (clip, then those of the case),
            "zscore", "none", "rescale_to_01", "rgb_to_01".
        use_mask: whether only voxels in the non-zero region are used, and all others set to zero.
        mean, sd, low, high: statistics of the training set's foreground; None if the scheme does not use them.
    """

    scheme: str
    use_mask: bool = False
    mean: float | None = None
    sd: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Resampling:
    """A resampling function by nnU-Net's own name, such as `resample_torch_fornnunet`, and its arguments."""

    function: str = _RESAMPLING
    options: tuple[tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, settings: Mapping, key: str) -> Resampling:
        """The function that a configuration names under `key`; nnU-Net's default if it names none."""
        options = settings.get(f"{key}_kwargs") or {}
        return cls(str(settings.get(key, _RESAMPLING)), tuple(sorted(options.items())))

    def option(self, name: str, default: Any = None) -> Any:
        """One of the arguments."""
        return dict(self.options).get(name, default)


_SCORES_OF_V1 = Resampling(options=(("force_separate_z", None), ("is_seg", False), ("order", 1), ("order_z", 0)))
_SEGMENTATION = Resampling(options=(("force_separate_z", None), ("is_seg", True), ("order", 1), ("order_z", 0)))


@dataclass(frozen=True)
class Plan:
    """A plan of nnU-Net.

    Attributes:
        version: 1 or 2; determines the order of normalisation and resampling, and what is averaged over windows.
        configuration: "2d", "3d_fullres", "3d_lowres", "3d_cascade_fullres".
        patch_size: window in voxels, (Z, Y, X), or (Y, X) for slices of the first axis.
        spacing_mm: target spacing of the window's axes, after the transposition.
        transpose_forward, transpose_backward: order of the spatial axes for preparing and for restoring.
        channels: normalisation of each channel.
        class_names: of the label values 0, 1, ...; "1", "2", ... if the plan has no names.
        pools: stride of each step down.
        kernels: kernel size of each stage.
        n_convolutions: number of convolutions in each stage.
        base_features: channels of the first stage.
        largest_width: channels of the widest stage.
        interpolation_order, interpolation_order_z: orders for the image; scores are resampled with order 1 and 0.
        regions: name and label values of each foreground region, in the order of the network's outputs; empty if the
            network separates labels.
        regions_class_order: the label that each region paints, in this order, over the earlier ones.
        ignore_label: the label of a truth that was left undecided, which no metric counts; None without one.
        channel_names: of the image, by number; empty if the plan has none.
        reader: nnU-Net's class that reads the images, such as NibabelIOWithReorient.
        file_ending: of the images, such as .nrrd.
        resampling_data, resampling_seg, resampling_probabilities: how the image, an earlier stage's mask and the
            scores are resampled.
        previous_stage: configuration whose masks are further channels of the input, one per foreground label.
        network: of v2, as it describes it; None: the network follows from the shapes of the weights.
    """

    version: int
    configuration: str
    patch_size: tuple[int, ...]
    spacing_mm: tuple[float, ...]
    transpose_forward: tuple[int, ...]
    transpose_backward: tuple[int, ...]
    channels: tuple[ChannelNorm, ...]
    class_names: tuple[str, ...]
    pools: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    n_convolutions: int
    base_features: int
    largest_width: int
    interpolation_order: int = 3
    interpolation_order_z: int = 0
    regions: tuple[tuple[str, tuple[int, ...]], ...] = ()
    regions_class_order: tuple[int, ...] = ()
    ignore_label: int | None = None
    channel_names: tuple[str, ...] = ()
    reader: str = "SimpleITKIO"
    file_ending: str = ".nii.gz"
    resampling_data: Resampling = Resampling()
    resampling_seg: Resampling = _SEGMENTATION
    resampling_probabilities: Resampling = _SCORES_OF_V1
    previous_stage: str | None = None
    network: NetworkPlan | None = None

    @property
    def n_classes(self) -> int:
        """Labels of a mask, background included."""
        return len(self.class_names)

    @property
    def n_outputs(self) -> int:
        """Channels of the network's output: one per label, or one per region."""
        return len(self.regions) or self.n_classes

    @property
    def n_inputs(self) -> int:
        """Channels of the network's input: those of the image, and one per foreground label of the previous stage."""
        return len(self.channels) + (self.n_classes - 1 if self.previous_stage else 0)

    @property
    def activation(self) -> str | None:
        """Applied to each window before averaging: in v1 softmax, or sigmoid for regions; in v2 nothing (logits)."""
        return self.probability if self.version == 1 else None

    @property
    def probability(self) -> str:
        """What turns the network's logits into probabilities."""
        return "sigmoid" if self.regions else "softmax"

    def network_arguments(self) -> dict:
        """Arguments of `helpers.networks.nnunet.GenericUNet`."""
        arguments = {
            "input_channels": self.n_inputs,
            "num_classes": self.n_outputs,
            "pool_op_kernel_sizes": self.pools,
            "base_num_features": self.base_features,
            "conv_kernel_sizes": self.kernels,
            "num_conv_per_stage": self.n_convolutions,
            "max_num_features": self.largest_width,
        }
        if self.version == 2:
            arguments |= {"decoder_kernel_sizes": self.kernels[-2::-1], "decoder_bias": True}
        return arguments


def plan_from_v1(content: Mapping, stage: int | None = None, configuration: str | None = None) -> Plan:
    """Reads the plan from the content of v1's `plans.pkl`.

    Args:
        content: the unpickled content.
        stage: stage of a cascade; by default the last one, at full resolution.
        configuration: its name; by default "2d", "3d_lowres" or "3d_fullres", from the patch and the stage.

    Raises:
        DataError: an entry is missing (the message names it), or the stage does not exist.
    """
    try:
        stages = content["plans_per_stage"]
        chosen = max(stages) if stage is None else stage
        if chosen not in stages:
            raise DataError("the plan does not have this stage", received=chosen, expected=sorted(stages))
        if configuration is None and len(stages[chosen]["patch_size"]) == 3 and chosen < max(stages):
            configuration = "3d_lowres"
        return _plan_of_stage(content, stages[chosen], configuration)
    except (KeyError, TypeError, IndexError, ValueError, OverflowError) as error:
        raise _incomplete("plans.pkl", error) from None


def _plan_of_stage(content: Mapping, stage: Mapping, configuration: str | None) -> Plan:
    patch = _integers(stage["patch_size"])
    dims = len(patch)
    intensities = content["dataset_properties"].get("intensityproperties") or {}
    channels = []
    for index in range(int(content["num_modalities"])):
        scheme = _V1_SCHEMES.get(content["normalization_schemes"][index], "zscore")
        statistics = intensities[index] if scheme in ("ct", "ct2") else None
        channels.append(_channel(scheme, content["use_mask_for_norm"][index], statistics, "sd"))
    names = ("background", *(str(label) for label in range(1, int(content["num_classes"]) + 1)))
    kernels = stage.get("conv_kernel_sizes") or [(3,) * dims] * (len(stage["pool_op_kernel_sizes"]) + 1)
    return Plan(
        version=1,
        configuration=configuration or ("2d" if dims == 2 else "3d_fullres"),
        patch_size=patch,
        spacing_mm=tuple(float(value) for value in stage["current_spacing"])[-dims:],
        transpose_forward=_integers(content["transpose_forward"]),
        transpose_backward=_integers(content["transpose_backward"]),
        channels=tuple(channels),
        class_names=names,
        pools=tuple(_integers(pool) for pool in stage["pool_op_kernel_sizes"]),
        kernels=tuple(_integers(kernel) for kernel in kernels),
        n_convolutions=int(content.get("conv_per_stage") or 2),
        base_features=int(content["base_num_features"]),
        largest_width=_V1_LARGEST_WIDTH[dims],
        channel_names=tuple(str(content["modalities"][index]) for index in range(len(channels))),
    )


def plan_from_v2(content: Mapping, dataset: Mapping, configuration: str) -> Plan:
    """Reads the plan of one configuration from v2's `plans.json`, with the labels of `dataset.json`.

    Raises:
        DataError: the configuration or an entry is missing, or the plan names something that is not supported: a
            network, a layer, a label manager, a preprocessor. The message names it.
    """
    try:
        settings = _resolve(content["configurations"], configuration)
        _refuse_other_classes(content, settings)
        channels = _channels_of_v2(content, settings)
        data = Resampling.of(settings, "resampling_fn_data")
        return Plan(
            version=2,
            configuration=configuration,
            patch_size=_integers(settings["patch_size"]),
            spacing_mm=tuple(float(value) for value in settings["spacing"])[-len(settings["patch_size"]) :],
            transpose_forward=_integers(content["transpose_forward"]),
            transpose_backward=_integers(content["transpose_backward"]),
            channels=channels,
            channel_names=_channel_names(dataset, len(channels)),
            interpolation_order=int(data.option("order", 3)),
            interpolation_order_z=int(data.option("order_z", 0)),
            reader=str(content.get("image_reader_writer", "SimpleITKIO")),
            file_ending=str(dataset.get("file_ending", ".nii.gz")),
            resampling_data=data,
            resampling_seg=Resampling.of(settings, "resampling_fn_seg"),
            resampling_probabilities=Resampling.of(settings, "resampling_fn_probabilities"),
            previous_stage=settings.get("previous_stage"),
            **_labels(labels_of_v2(dataset)),
            **_network(network_of_v2(settings)),
        )
    except (KeyError, TypeError, IndexError, ValueError, OverflowError, AttributeError) as error:
        raise _incomplete("plans.json or dataset.json", error) from None


def _labels(labels: PlanLabels) -> dict:
    return {
        "class_names": labels.names,
        "regions": labels.regions,
        "regions_class_order": labels.class_order,
        "ignore_label": labels.ignore,
    }


def _network(network: NetworkPlan) -> dict:
    return {
        "network": network,
        "pools": network.strides[1:],
        "kernels": network.kernels,
        "n_convolutions": network.blocks[0],
        "base_features": network.features[0],
        "largest_width": max(network.features),
    }


def _channels_of_v2(content: Mapping, settings: Mapping) -> tuple[ChannelNorm, ...]:
    key = "foreground_intensity_properties_per_channel"  # the first releases of v2 have the other name
    intensities = content[key if key in content else "foreground_intensity_properties_by_modality"]
    schemes = zip(settings["normalization_schemes"], settings["use_mask_for_norm"], strict=True)
    return tuple(
        _channel(_V2_SCHEMES.get(name, name), masked, intensities.get(str(index)), "std")
        for index, (name, masked) in enumerate(schemes)
    )


def _channel_names(dataset: Mapping, count: int) -> tuple[str, ...]:
    """Names of the channels by number, if there are any; nnU-Net refuses a data set with another number of them."""
    listed = dataset.get("channel_names") or dataset.get("modality") or {}
    if not listed:
        return ()
    if len(listed) != count:
        raise DataError(
            "dataset.json and plans.json have different channels", received=dict(listed), expected=f"{count} channels"
        )
    return tuple(str(listed[str(index)]) for index in range(count))


def _refuse_other_classes(content: Mapping, settings: Mapping) -> None:
    named = (
        ("label manager", content.get("label_manager", "LabelManager"), "LabelManager"),
        ("preprocessor", settings.get("preprocessor_name", "DefaultPreprocessor"), "DefaultPreprocessor"),
    )
    for what, name, known in named:
        if name != known:
            raise DataError(f"the plan's {what} is not supported", received=name, expected=known)


def _resolve(configurations: Mapping, name: str) -> dict:
    seen = []
    settings: dict = {}
    while name is not None:
        if name in seen or name not in configurations:
            raise DataError(
                "the plan does not have this configuration", received=name, expected=", ".join(sorted(configurations))
            )
        seen.append(name)
        settings = {**configurations[name], **settings}
        name = configurations[name].get("inherits_from")
    return settings


def _channel(scheme: str, use_mask: object, statistics: Mapping | None, sd_name: str) -> ChannelNorm:
    if scheme not in ("zscore", "none", "ct", "ct2", "rescale_to_01", "rgb_to_01"):
        raise DataError("unknown normalisation scheme in the plan", received=scheme, expected=", ".join(_V2_SCHEMES))
    if scheme not in ("ct", "ct2"):
        return ChannelNorm(scheme, bool(use_mask))
    if statistics is None:
        raise KeyError(f"intensity properties for {scheme}")
    names = ("mean", sd_name, "percentile_00_5", "percentile_99_5")
    mean, sd, low, high = (float(statistics[name]) for name in names)
    return ChannelNorm(scheme, bool(use_mask), mean, sd, low, high)


def _integers(values: Sequence) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _incomplete(name: str, error: Exception) -> DataError:
    return DataError(
        f"{name} is not a complete nnU-Net plan",
        received=f"{type(error).__name__}: {error}",
        remedy="Copy the file of the training run again.",
    )
