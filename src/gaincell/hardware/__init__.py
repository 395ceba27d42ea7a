"""Latency, energy and area of a model's attention in gain cells. Imports neither torch nor transformers."""

from gaincell.hardware.activity import Activity
from gaincell.hardware.components import Component, Components
from gaincell.hardware.estimation import Cost, Estimate, GpuRatio, Row, estimate, paper_table
from gaincell.hardware.parameters import HardwareParameters
from gaincell.hardware.published_gpus import BASELINES, JETSON_NANO, RTX_4090, GpuBaseline
from gaincell.hardware.read_workload import read_workload
from gaincell.hardware.workload import GPT2, Layer, Workload

__all__ = [
    "BASELINES",
    "GPT2",
    "JETSON_NANO",
    "RTX_4090",
    "Activity",
    "Component",
    "Components",
    "Cost",
    "Estimate",
    "GpuBaseline",
    "GpuRatio",
    "HardwareParameters",
    "Layer",
    "Row",
    "Workload",
    "estimate",
    "paper_table",
    "read_workload",
]
