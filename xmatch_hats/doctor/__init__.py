"""What ``xmatch-hats doctor`` finds: software, catalogues, disk, memory and services, and what to do about each."""

from xmatch_hats.doctor.examine import examine
from xmatch_hats.doctor.report import Report, State, Symptom

__all__ = ["Report", "State", "Symptom", "examine"]


def __dir__() -> list[str]:
    return sorted(__all__)
