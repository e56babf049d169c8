"""One measurement per device at a time: a lock on the device that says whose it is.

The lock is a folder, since `mkdir` either makes it or fails. Its times are the device's own
seconds since start, which no clock setting changes; a device that was started anew holds none.
"""

from __future__ import annotations

import getpass
import os
import secrets
import shlex
import socket
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from toolkit.contracts import Link
from toolkit.digest import sha256_json
from toolkit.errors import DeviceBusy, EnvironmentFailure, ToolkitError
from toolkit.measure.probe import ROOT
from toolkit.measure.words import marked, plain

LEASE_S = 900  # how long a lock is held after its owner was last heard of
LOCK_S = 60.0
POLL_S = 2.0  # between two looks at a busy device
NAMELESS_POLLS = 3  # so often a lock may be seen without its owner, who is just writing it
MOST_TAKEOVERS = 3  # tries in a row at a lock that is over; then it cannot be removed
FIRST_LINE = "edgesr-lock 1"

# Function names that are no alias in ksh or mksh, Android's shell: it has `stop` and `hash`.
# What a run left: its programs, by their working folder, are asked to end; then its files go.
CLEAN = """\
send() {
  ls -l /proc/[0-9]*/cwd 2>/dev/null | while read -r line; do
    case $line in
    *" -> $2" | *" -> $2/"* | *" -> $2 "*)
      pid=${line#*/proc/}; kill "-$1" "${pid%%/*}" 2>/dev/null && echo "${pid%%/*}";;
    esac
  done
}
end_jobs() {
  for job in "$root/jobs"/*; do
    if [ -d "$job" ] && [ -n "$(send TERM "$job")" ]; then
      for second in 1 2 3 4 5 6 7 8; do  # a runner puts back what it changed
        sleep 1; [ -z "$(send 0 "$job")" ] && break
      done
      send KILL "$job" >/dev/null
    fi
  done
}
clean() { end_jobs; rm -rf "${root:?}/jobs/"* "${root:?}/files/"*.part; }
"""
OWNED = 'sed -n "s/^token=//p" "$root/lock/owner" 2>/dev/null'
_TAKE = """\
echo 'edgesr-lock 1'
mkdir -p "$root/files" "$root/jobs" || exit 1
case $root in
/tmp/*) [ -O "$root" ] || { echo "$root belongs to someone else" >&2; exit 1; };;
esac
holder() { if [ -r "$1/owner" ]; then sed -n "s/^token=//p" "$1/owner"; else echo nameless; fi; }
old=$root/lock.$token
if [ -n "$stale" ] && [ "$(holder "$root/lock")" = "$stale" ] && mv "$root/lock" "$old" 2>/dev/null
then  # somebody else may have taken it over in between: then it is theirs
  if [ "$(holder "$old")" = "$stale" ]; then rm -rf "$old"
  elif [ ! -e "$root/lock" ]; then mv "$old" "$root/lock"; fi
fi
if mkdir "$root/lock" 2>/dev/null; then
  { printf '%s\\n' "$owner"; echo "since=$(now)"; echo "until=$(($(now) + lease))"
    echo "boot=$(boot)"; } > "$root/lock/part" && mv "$root/lock/part" "$root/lock/owner" ||
    { rm -rf "$root/lock"; exit 1; }
  clean
  echo state=taken
elif [ -d "$root/lock" ]; then
  echo state=busy
  head -c 2000 "$root/lock/owner" 2>/dev/null | sed 's/^/lock./'
else
  echo "could not make $root/lock" >&2; exit 1
fi
echo "now=$(now)"; echo "boot=$(boot)"
""".replace("OWNED", OWNED)
RENEW = """\
if [ "$(OWNED)" != "$token" ]; then echo "edgesr: the lock was lost" >&2; exit 97; fi
sed "s/^until=.*/until=$(($(now) + lease))/" "$root/lock/owner" > "$root/lock/part" &&
  mv "$root/lock/part" "$root/lock/owner" || exit 98
""".replace("OWNED", OWNED)
_RELEASE = """\
if [ "$(OWNED)" = "$token" ]; then clean; rm -rf "${root:?}/lock"; fi
rmdir "$root/jobs" 2>/dev/null; rmdir "$root/files" 2>/dev/null; rmdir "$root" 2>/dev/null
exit 0
""".replace("OWNED", OWNED)

Say = Callable[[str], None]
_held: set[str] = set()  # tokens of locks that this process holds


@dataclass(frozen=True, kw_only=True)
class Lock:
    """A lock that was taken."""

    token: str

    def renewed(self, lease_s: float) -> str:
        """Lines of a script that stop it where the lock was lost, else hold it for longer."""
        return f"token={self.token}; lease={int(lease_s)}\n{RENEW}"


@dataclass(frozen=True, kw_only=True)
class Holder:
    """Who holds a device's lock."""

    token: str
    owner: str  # user@host, process
    age_s: int
    is_over: bool  # nobody can be at work under it any more
    reason: str  # why it is over

    @property
    def age(self) -> str:
        """How long it has been held, for people."""
        return f"{self.age_s} s" if self.age_s < 120 else f"{self.age_s // 60} min"


def take(link: Link, *, wait_s: float, say: Say) -> Lock:
    """Lock a device, wait for it, or take over what a dead owner left.

    Raises DeviceBusy naming the owner where it is still busy after `wait_s` seconds, and
    EnvironmentFailure where what a dead owner left cannot be removed.
    """
    lock = Lock(token=secrets.token_hex(8))
    deadline = time.monotonic() + wait_s
    stale, nameless, takeovers, told = "", 0, 0, False
    while True:
        values = _try(link, lock, stale)
        if values.get("state") == "taken":
            _held.add(lock.token)
            return lock
        holder = holder_of(
            {k[5:]: v for k, v in values.items() if k.startswith("lock.")},
            now_s=_whole(values.get("now", "")),
            boot=values.get("boot", ""),
        )
        nameless += holder is None
        stale = _stale(holder, nameless)
        takeovers = takeovers + 1 if stale else 0
        if takeovers > MOST_TAKEOVERS:
            raise _stuck(link.url, holder)
        if stale and holder is not None and takeovers == 1:
            say(f"{link.url}: taking over the lock of {holder.owner}: {holder.reason}")
        elif holder is not None and not stale:
            if time.monotonic() >= deadline:
                raise _busy(link.url, holder)
            if not told:
                say(f"{link.url} is busy: {holder.owner} for {holder.age}; waiting")
            told = True
        if not stale:
            time.sleep(POLL_S if holder else 1.0)


def _stale(holder: Holder | None, nameless: int) -> str:
    """The token of a lock that may be taken over; "" where it may not."""
    if holder is not None:
        return holder.token if holder.is_over else ""
    return "nameless" if nameless > NAMELESS_POLLS else ""


def release(link: Link, lock: Lock, say: Say) -> None:
    """Give a device back, with nothing left on it but the files by digest.

    Never raises: a device that cannot be reached is cleaned by whoever comes next.
    """
    _held.discard(lock.token)
    script = f"{ROOT}{CLEAN}token={lock.token}\n{_RELEASE}"
    try:
        done = link.run(script, timeout_s=LOCK_S)
        failure = "" if done.code == 0 else plain(done.stderr)
    except ToolkitError as problem:
        failure = problem.problem
    if failure:
        say(f"{link.url}: not given back ({failure}); the next visit cleans up and takes over")


def holder_of(values: Mapping[str, str], *, now_s: int, boot: str) -> Holder | None:
    """Who holds a lock, from its own words; None where it does not say."""
    token = values.get("token", "")
    if not (token.isalnum() and token.isascii() and len(token) <= 64):
        return None
    reason = ""
    if values.get("boot", "") != boot:
        reason = "the device was restarted since"
    elif now_s > _whole(values.get("until", "")):
        reason = "its time is over"
    elif values.get("host", "") == _this_host() and token not in _held and _is_dead(values):
        reason = "its process has ended"
    return Holder(
        token=token,
        owner=f"{plain(values.get('owner', ''), 80)} (process {values.get('pid', '?')[:12]})",
        age_s=max(0, now_s - _whole(values.get("since", ""))),
        is_over=reason != "",
        reason=reason,
    )


def _try(link: Link, lock: Lock, stale: str) -> dict[str, str]:
    owner = "\n".join(f"{key}={value}" for key, value in _self(lock.token).items())
    script = (
        f"{ROOT}{CLEAN}"
        f"token={lock.token}; lease={LEASE_S}; stale={shlex.quote(stale)}\n"
        f"owner={shlex.quote(owner)}\n{_TAKE}"
    )
    done = link.run(script, timeout_s=LOCK_S)
    values = marked(done, FIRST_LINE, link.url)
    if done.code != 0 or "state" not in values:
        raise EnvironmentFailure(
            f"the device could not be locked (exit {done.code}): {plain(done.stderr)}",
            where=link.url,
            hint="its folder must be writable: set EDGESR_HOME on the device to one that is",
        )
    return values


def _busy(url: str, holder: Holder) -> DeviceBusy:
    return DeviceBusy(
        f"the device is busy: {holder.owner} has held it for {holder.age}",
        where=url,
        hint="`--wait SECONDS` waits for it; `edgesr devices` shows who is at work",
    )


def _stuck(url: str, holder: Holder | None) -> EnvironmentFailure:
    whose = f"the lock of {holder.owner} is over ({holder.reason})" if holder else "a lock is there"
    return EnvironmentFailure(
        f"{whose} but cannot be removed",
        where=url,
        hint="as the user who owns it, remove the folder `lock` in edgesr's folder on the device",
    )


def _self(token: str) -> dict[str, str]:
    try:
        user = getpass.getuser()
    except (KeyError, OSError):
        user = str(os.getuid())
    return {
        "token": token,
        "owner": plain(f"{user}@{socket.gethostname()}", 80),
        "pid": str(os.getpid()),
        "started": _started(os.getpid()),
        "host": _this_host(),
    }


def _is_dead(values: Mapping[str, str]) -> bool:
    """Whether the process that took the lock, on this host, has ended or is another one now."""
    started = _started(_whole(values.get("pid", "")))
    return started != values.get("started", "") or values.get("pid", "") == str(os.getpid())


def _this_host() -> str:
    """The same for two processes that see the same process numbers, else another."""
    parts = [socket.gethostname()]
    for read in (
        lambda: Path("/proc/sys/kernel/random/boot_id").read_text("ascii"),
        lambda: str(Path("/proc/self/ns/pid").readlink()),
    ):
        try:
            parts.append(read())
        except OSError:
            parts.append("")
    return sha256_json(parts)[:16]


def _started(pid: int) -> str:
    """When a process started, in ticks since boot: field 22 of proc_pid_stat(5); "" where gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace")
    except OSError:
        return ""
    return text.rpartition(")")[2].split()[19]


def _whole(text: str) -> int:
    return int(text) if text.isascii() and text.isdigit() and len(text) < 16 else 0
