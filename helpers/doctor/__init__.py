"""Reports what this machine has, which targets each notebook can use on it, and what the other targets need."""

from helpers.doctor.report import DoctorReport, examine

__all__ = ["DoctorReport", "examine"]
