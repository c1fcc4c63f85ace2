"""The settings of the step: from the environment, a TOML file and the command line, checked and shown."""

from xmatch_hats.step.settings.catalogs import CatalogSettings
from xmatch_hats.step.settings.kafka import KafkaOptions
from xmatch_hats.step.settings.loading import describe, load_settings, settings_reference
from xmatch_hats.step.settings.model import StepSettings

__all__ = ["CatalogSettings", "KafkaOptions", "StepSettings", "describe", "load_settings", "settings_reference"]
