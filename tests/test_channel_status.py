"""What a channel says of itself, what runs out, and what a daily timer signs again."""

from __future__ import annotations

import json
import os
from datetime import timedelta

import pytest
from channel_parts import NOW, Camera, draft, tree
from tuf.api.exceptions import ExpiredMetadataError

from toolkit.channel.new_keys import init_keys
from toolkit.channel.publish import publish_draft
from toolkit.channel.refresh import refresh
from toolkit.channel.status import status_of
from toolkit.channel.status_text import expiry_text, status_text
from toolkit.cli import main
from toolkit.errors import EnvironmentFailure, SecurityError, UserError
from toolkit.keys.ring import open_keys
from toolkit.writing import locked

DAY = timedelta(days=1)


@pytest.fixture
def keys(tmp_path):
    return init_keys(tmp_path / "keys", families=["street", "yard"], now=NOW)


@pytest.fixture
def channel(tmp_path, keys):
    channel = tmp_path / "channel"
    publish_draft(channel, draft(1), keys=keys, now=NOW)
    publish_draft(channel, draft(2, min_firmware=7), keys=keys, basis_points=50, now=NOW)
    publish_draft(channel, draft(3, compatible="yard"), keys=keys, now=NOW + DAY)
    return channel


@pytest.mark.parametrize("harm", ["missing", "flipped", "longer"])
def test_a_damaged_file_of_a_living_release_is_told(channel, keys, harm, capsys):
    assert status_of(channel, keys).damaged == ()
    (model,) = (channel / "targets/yard/1").glob("*.tiny.onnx")
    data = bytearray(model.read_bytes())
    model.unlink()
    if harm != "missing":
        data[0] ^= 1
        model.write_bytes(bytes(data) + b"x" * (harm == "longer"))
    status = status_of(channel, keys)
    assert status.damaged == (str(model.relative_to(channel)),)
    assert f"no camera can fetch it: {status.damaged[0]}" in status_text(status, now=NOW)
    assert main(["channel", "status", "--channel", str(channel)]) == 5
    assert main(["channel", "status", "--channel", str(channel), "--json"]) == 5
    assert model.name in capsys.readouterr().out


def test_the_whole_state_as_text(channel, keys):
    status = status_of(channel, keys)
    text = status_text(status, now=NOW + 2 * DAY)
    for role in status.roles:
        for n, keyid in enumerate(role.keyids):
            text = text.replace(keyid[:8], f"{role.role[:2]}-{n}".ljust(8))
    assert "\n".join(line.rstrip() for line in text.splitlines()) == (
        "family street: 2 living releases\n"
        "  release  compatible  share  firmware  created           model             to load\n"
        "        2  street      0.5 %  >= 7      2026-11-21 18:00  tiny.onnx (int8)   1.6 kB\n"
        "        1  street      100 %  any       2026-11-21 18:00  tiny.onnx (int8)   1.6 kB\n"
        "\n"
        "family yard: 1 living release\n"
        "  release  compatible  share  firmware  created           model             to load\n"
        "        1  yard        100 %  any       2026-11-22 18:00  tiny.onnx (int8)   1.6 kB\n"
        "\n"
        "  role       version  expires                        signed by        keys\n"
        "  root             1  2027-11-21 18:00  in 363 days  3, needs 2 of 3  "
        "ro-0     ro-1     ro-2\n"
        "  targets          2  2027-02-20 18:00  in 89 days   1, needs 1 of 1  ta-0\n"
        "  snapshot         3  2026-12-06 18:00  in 13 days   1, needs 1 of 1  sn-0\n"
        "  timestamp        3  2026-11-25 18:00  in 48 h      1, needs 1 of 1  ti-0\n"
        "  street           2  2027-02-19 18:00  in 88 days   1, needs 1 of 1  st-0\n"
        "  yard             1  2027-02-20 18:00  in 89 days   1, needs 1 of 1  ya-0"
    )


def test_the_same_without_the_keys(channel, keys):
    assert status_of(channel) == status_of(channel, keys)


def test_as_json_it_has_every_figure(channel, keys):
    value = json.loads(json.dumps(status_of(channel).as_json()))
    assert value["schema"] == 1 and value["signed_at"] == "2026-11-22T18:00:00Z"
    newest = value["families"]["street"][0]
    assert (newest["release"], newest["basis_points"], newest["min_firmware"]) == (2, 50, 7)
    root = value["roles"][0]
    assert (root["role"], root["threshold"], len(root["keyids"])) == ("root", 2, 3)
    assert root["expires"] == "2027-11-21T18:00:00Z"


def test_where_nothing_is_published(tmp_path, keys):
    for given in (None, keys):
        with pytest.raises(UserError, match="there is no channel"):
            status_of(tmp_path / "none", given)
    with pytest.raises(UserError, match="there is no channel"):
        refresh(tmp_path / "none", keys=keys, now=NOW)
    assert not (tmp_path / "none").exists()


def test_a_changed_channel_has_no_status(channel):
    file = channel / "metadata/timestamp.json"
    file.write_bytes(file.read_bytes().replace(b"2026-11-25", b"2036-11-25"))
    with pytest.raises(SecurityError, match="`timestamp` is not signed by its keys"):
        status_of(channel)


def soon(channel, now, days=7.0):
    return [role.role for role in status_of(channel).roles if role.expires_soon(now, days)]


@pytest.mark.parametrize(
    "after_days, roles",
    [
        (1, []),
        (2.9, []),
        (3.1, ["timestamp"]),
        (11, ["snapshot", "timestamp"]),
        (83.5, ["snapshot", "timestamp", "street"]),
        (84.5, ["targets", "snapshot", "timestamp", "street", "yard"]),
        (359, ["root", "targets", "snapshot", "timestamp", "street", "yard"]),
    ],
)
def test_what_runs_out_within_a_week(channel, after_days, roles):
    assert soon(channel, NOW + after_days * DAY) == roles


def test_more_days_are_for_what_nobody_signs_daily(channel):
    assert soon(channel, NOW + DAY, days=400) == ["root", "targets", "street", "yard"]


def test_what_runs_out_as_text(channel):
    now = NOW + 3.5 * DAY
    roles = [role for role in status_of(channel).roles if role.expires_soon(now, 7)]
    assert expiry_text(roles, now=now) == (
        "  timestamp  2026-11-25 18:00  in 12 h, SOON  edgesr channel refresh --channel DIR"
    )
    assert "EXPIRED" in expiry_text(roles, now=now + DAY)
    assert expiry_text([], now=now) == "nothing expires soon"


def test_a_year_of_days(channel, keys):
    """A daily timer keeps cameras going for as long as the offline keys are renewed in time."""
    camera = Camera(channel, keys.folder / "1.root.json")
    now = NOW + DAY
    for _ in range(20):
        now += 19 * DAY  # the timer ran each day; here only the days that matter
        refresh(channel, keys=keys, everything=True, now=now)
        assert camera.newest("street", now=now + 2.9 * DAY).release == 2
    assert (now - NOW).days > 365


def test_refresh_signs_timestamp_alone_while_snapshot_is_young(channel, keys):
    before = tree(channel)
    assert refresh(channel, keys=keys, now=NOW + 2 * DAY) == ("timestamp",)
    after = tree(channel)
    assert [name for name in after if after[name] != before.get(name)] == [
        "metadata/timestamp.json"
    ]


def test_refresh_signs_snapshot_past_half_of_its_life(channel, keys):
    assert refresh(channel, keys=keys, now=NOW + 7.9 * DAY) == ("timestamp",)
    assert refresh(channel, keys=keys, now=NOW + 8.1 * DAY) == ("snapshot", "timestamp")


def test_refresh_signs_what_expired_as_well(channel, keys):
    late = NOW + 120 * DAY
    assert refresh(channel, keys=keys, now=late) == ("snapshot", "targets", "timestamp")
    (keys.folder / "targets-1.key").unlink()
    with pytest.raises(EnvironmentFailure, match="`targets` must be signed"):
        refresh(channel, keys=open_keys(keys.folder), now=late + 120 * DAY)


def test_refresh_of_everything_waits_for_a_rotation_before_it_holds_the_channel(channel, keys):
    with locked(keys.folder):
        child = os.fork()
        if child == 0:

            def waits(_):
                with locked(channel, lambda _: os._exit(1)):
                    os._exit(7)

            refresh(channel, keys=keys, everything=True, now=NOW + DAY, say=waits)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_an_expired_channel_is_refused_until_it_is_refreshed(channel, keys):
    camera = Camera(channel, keys.folder / "root.json")
    late = NOW + 5 * DAY
    with pytest.raises(ExpiredMetadataError):
        camera.newest(now=late)
    refresh(channel, keys=keys, now=late)
    assert camera.newest(now=late).release == 2


def test_what_is_not_here_is_not_renewed_and_said(channel, keys):
    for name in ("root-1", "root-2", "yard-1"):
        (keys.folder / f"{name}.key").unlink()
    said = []
    roles = refresh(
        channel, keys=open_keys(keys.folder), everything=True, now=NOW + 200 * DAY, say=said.append
    )
    assert roles == ("snapshot", "street", "targets", "timestamp")
    assert said == [
        "root: not renewed, not here: root-1.key, root-2.key",
        "yard: not renewed, not here: yard-1.key",
    ]


def test_root_is_renewed_without_new_keys(channel, keys):
    roles = refresh(channel, keys=keys, everything=True, now=NOW + 200 * DAY)
    assert "root" in roles
    status = status_of(channel, keys)
    assert (status.roles[0].version, status.roles[0].expires) == (2, NOW + 565 * DAY)
    assert open_keys(keys.folder).roles == keys.roles
