"""A plan of nnU-Net in one form for both versions, read from the files of either.

Sources: MIC-DKFZ/nnUNet v1.7.1 (experiment_planning, `plans.pkl`) and v2 (`plans.json` with `dataset.json`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

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
_NETWORKS = ("PlainConvUNet", "GenericUNet", "GenericUNetPlusPlus")


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
class Plan:
    """A plan of nnU-Net.

    Attributes:
        version: 1 or 2; determines the order of normalisation and resampling, and what is averaged over windows.
        configuration: "2d", "3d_fullres", "3d_lowres".
        patch_size: window in voxels, (Z, Y, X), or (Y, X) for slices of the first axis.
        spacing_mm: target spacing of the window's axes, after the transposition.
        transpose_forward, transpose_backward: order of the spatial axes for preparing and for restoring.
        channels: normalisation of each channel.
        class_names: the background first; "1", "2", ... if the plan has no names.
        pools: stride of each step down.
        kernels: kernel size of each stage.
        n_convolutions: number of convolutions in each stage.
        base_features: channels of the first stage.
        largest_width: channels of the widest stage.
        interpolation_order, interpolation_order_z: orders for the image; scores are resampled with order 1 and 0.
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

    @property
    def n_classes(self) -> int:
        """Classes of the network's output, background included."""
        return len(self.class_names)

    @property
    def activation(self) -> str | None:
        """Applied to each window before averaging: softmax in v1, nothing (logits) in v2."""
        return "softmax" if self.version == 1 else None

    def network_arguments(self) -> dict:
        """Arguments of `helpers.networks.nnunet.GenericUNet`."""
        arguments = {
            "input_channels": len(self.channels),
            "num_classes": self.n_classes,
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
    except (KeyError, TypeError, IndexError, ValueError) as error:
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
    )


def plan_from_v2(content: Mapping, dataset: Mapping, configuration: str) -> Plan:
    """Reads the plan of one configuration from v2's `plans.json`, with the labels of `dataset.json`.

    Raises:
        DataError: the configuration or an entry is missing, labels are regions, the network is not a plain U-Net, or
            resampling is not nnU-Net's default. The message names it.
    """
    try:
        settings = _resolve(content["configurations"], configuration)
        network = _v2_network(settings)
        _refuse_other_resampling(settings)
        intensities = content["foreground_intensity_properties_per_channel"]
        channels = [
            _channel(_V2_SCHEMES.get(name, name), masked, intensities.get(str(index)), "std")
            for index, (name, masked) in enumerate(
                zip(settings["normalization_schemes"], settings["use_mask_for_norm"], strict=True)
            )
        ]
        options = settings.get("resampling_fn_data_kwargs", {})
        return Plan(
            version=2,
            configuration=configuration,
            patch_size=_integers(settings["patch_size"]),
            spacing_mm=tuple(float(value) for value in settings["spacing"])[-len(settings["patch_size"]) :],
            transpose_forward=_integers(content["transpose_forward"]),
            transpose_backward=_integers(content["transpose_backward"]),
            channels=tuple(channels),
            class_names=_class_names(dataset["labels"]),
            interpolation_order=int(options.get("order", 3)),
            interpolation_order_z=int(options.get("order_z", 0)),
            **network,
        )
    except (KeyError, TypeError, IndexError, ValueError) as error:
        raise _incomplete("plans.json or dataset.json", error) from None


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


def _v2_network(settings: Mapping) -> dict:
    architecture = settings.get("architecture")
    if architecture is None:  # plans of v2's first releases
        kind, options = settings["UNet_class_name"], settings
        widths = [int(settings["UNet_base_num_features"]), int(settings["unet_max_num_features"])]
        strides, kernels = settings["pool_op_kernel_sizes"], settings["conv_kernel_sizes"]
        counts = [*settings["n_conv_per_stage_encoder"], *settings["n_conv_per_stage_decoder"]]
    else:
        kind, options = architecture["network_class_name"], architecture["arch_kwargs"]
        widths, strides, kernels = options["features_per_stage"], options["strides"], options["kernel_sizes"]
        counts = [*options["n_conv_per_stage"], *options["n_conv_per_stage_decoder"]]
    if kind.split(".")[-1] not in _NETWORKS or len(set(counts)) != 1:
        raise DataError(
            "the plan's network is not supported",
            received=f"{kind.split('.')[-1]} with {counts} convolutions",
            expected=f"{' or '.join(_NETWORKS)} with the same number of convolutions in each stage",
        )
    return {
        "pools": tuple(_integers(stride) for stride in strides[1:]),
        "kernels": tuple(_integers(kernel) for kernel in kernels),
        "n_convolutions": int(counts[0]),
        "base_features": int(widths[0]),
        "largest_width": max(int(width) for width in widths),
    }


def _refuse_other_resampling(settings: Mapping) -> None:
    for key in ("resampling_fn_data", "resampling_fn_probabilities"):
        name = settings.get(key, "resample_data_or_seg_to_shape")
        forced = settings.get(f"{key}_kwargs", {}).get("force_separate_z")
        if name != "resample_data_or_seg_to_shape" or forced is not None:
            raise DataError(
                "the plan does not resample by nnU-Net's default",
                received=f"{key} {name}, force_separate_z {forced}",
                expected="resample_data_or_seg_to_shape, force_separate_z None",
            )


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


def _class_names(labels: Mapping) -> tuple[str, ...]:
    if any(isinstance(value, (list, tuple)) for value in labels.values()):
        raise DataError("the data set's labels are regions", received=dict(labels), expected="one number per label")
    by_index = {value: name for name, value in labels.items() if name != "ignore"}
    return tuple(str(by_index[index]) for index in range(len(by_index)))


def _integers(values: Sequence) -> tuple[int, ...]:
    return tuple(int(value) for value in values)


def _incomplete(name: str, error: Exception) -> DataError:
    return DataError(
        f"{name} is not a complete nnU-Net plan",
        received=f"{type(error).__name__}: {error}",
        remedy="Copy the file of the training run again.",
    )
