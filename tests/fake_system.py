"""A folder with proc/ and sys/ as a board has them, for what reads or writes them."""

from __future__ import annotations

CHOICES = "ondemand performance schedutil"


def put(root, place, text):
    file = root / place
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{text}\n")
    return file


def governor_files(root):
    return sorted(root.glob("sys/devices/system/cpu/cpufreq/policy*/scaling_governor"))


def fake_board(root, *, cores=4, governor="schedutil", choices=CHOICES, mhz=2400, limit_mhz=2400):
    """A board of four cores in two clusters, like a Raspberry Pi with a second policy."""
    for first in (0, cores // 2):
        place = f"sys/devices/system/cpu/cpufreq/policy{first}"
        put(root, f"{place}/scaling_cur_freq", mhz * 1000)
        put(root, f"{place}/cpuinfo_min_freq", 1_500_000)
        put(root, f"{place}/cpuinfo_max_freq", 2_400_000)
        put(root, f"{place}/scaling_max_freq", limit_mhz * 1000)
        put(root, f"{place}/scaling_governor", governor)
        put(root, f"{place}/scaling_available_governors", choices)
        for core in range(first, first + cores // 2):
            folder = root / f"sys/devices/system/cpu/cpu{core}"
            folder.mkdir(exist_ok=True)
            (folder / "cpufreq").symlink_to(f"../cpufreq/policy{first}")
    put(root, "sys/devices/system/cpu/cpufreq/boost", 1)
    put(root, "sys/devices/system/cpu/cpuidle/current_driver", "psci")
    zone(root, 0, "cpu-thermal", 51_250)
    put(root, "proc/device-tree/model", "Raspberry Pi 5 Model B Rev 1.0\0")
    put(root, "proc/device-tree/compatible", "raspberrypi,5-model-b\0brcm,bcm2712\0")
    put(root, "proc/sys/kernel/osrelease", "6.12.25+rpt-rpi-2712")
    put(root, "proc/loadavg", "0.42 0.30 0.20 1/200 4321")
    put(root, "proc/meminfo", "MemTotal:  8256000 kB\nMemAvailable:    6144000 kB")
    put(root, "proc/self/status", "Name:\tpython3\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB")
    cpu_ticks(root)
    return root


def zone(root, number, kind, thousandths):
    put(root, f"sys/class/thermal/thermal_zone{number}/type", kind)
    return put(root, f"sys/class/thermal/thermal_zone{number}/temp", thousandths)


def cooler(root, number, kind, state):
    put(root, f"sys/class/thermal/cooling_device{number}/type", kind)
    put(root, f"sys/class/thermal/cooling_device{number}/cur_state", state)


def cpu_ticks(root, *, user=1000, system=200, idle=8000, iowait=0, steal=0, own=(500, 50)):
    """The kernel's account: ticks of all processes, and of this one."""
    put(root, "proc/stat", f"cpu  {user} 0 {system} {idle} {iowait} 0 0 {steal} 0 0\ncpu0 1 1 1")
    # the name in brackets is there to be stumbled over
    fields = f"S 1 2 3 0 -1 4194304 9 9 0 0 {own[0]} {own[1]} 0 0 20 0 5 0 123"
    put(root, "proc/self/stat", f"77 (python3 (x) y) {fields}")
