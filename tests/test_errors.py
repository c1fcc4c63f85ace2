import pickle

import pytest

from xmatch_hats import errors
from xmatch_hats.errors import ConfigError, PacketError, UsageError, XmatchError

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, XmatchError)]


def test_message_names_place_fault_and_way_out():
    error = XmatchError("has no column 'ra'", place="a.csv", hint="name it with --ra", value="ra")
    assert str(error) == "a.csv: has no column 'ra' (name it with --ra)"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_errors_cross_process_borders_whole(kind):
    error = kind("wrong", place=7, hint="right it", value=[1])
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind
    assert (str(copy), copy.place, copy.hint, copy.value) == (str(error), "7", "right it", [1])


def test_exit_codes_tell_wrong_use_from_failure():
    assert (UsageError.exit_code, ConfigError.exit_code, PacketError.exit_code) == (2, 2, 1)
