"""What this machine has, what each notebook can do on it, and what to install for the rest."""

from helpers.doctor.report import DoctorReport, examine

__all__ = ["DoctorReport", "examine"]
