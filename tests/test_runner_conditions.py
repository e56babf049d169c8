"""What a board was like while it was measured, read from trees as boards have them."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from fake_system import cooler, cpu_ticks, fake_board, put, zone

from toolkit.runner.conditions import memory_mb, snapshot, throttles
from toolkit.runner.energy import counter
from toolkit.runner.processor import cpu_times, shares
from toolkit.runner.recorder import LEAST_INTERVAL_S, Recorder

SECOND_NS = 1_000_000_000


def test_a_board_before_the_first_run(tmp_path):
    found = snapshot(fake_board(tmp_path, mhz=1800, limit_mhz=2000), 1.2345)
    affinity, machine = found.pop("cpu_affinity"), found.pop("machine")
    assert all(isinstance(core, int) for core in affinity)
    assert machine
    assert found == {
        "at_s": 1.234,
        "model": "Raspberry Pi 5 Model B Rev 1.0",
        "soc": "brcm,bcm2712",
        "kernel": "6.12.25+rpt-rpi-2712",
        "cores": 4,
        "governors": ["schedutil"] * 4,
        "frequencies_mhz": [1800.0] * 4,
        "frequencies_min_mhz": [1500.0] * 4,
        "frequencies_max_mhz": [2400.0] * 4,
        "frequencies_limit_mhz": [2000.0] * 4,
        "temperatures_c": {"cpu-thermal": 51.25},
        "throttles": None,
        "load_1min": 0.42,
        "free_memory_mb": 6000.0,
    }


def test_a_machine_that_tells_nothing_is_not_guessed(tmp_path):
    found = snapshot(tmp_path, 0.0)
    unknown = ("model", "soc", "kernel", "throttles", "load_1min", "free_memory_mb")
    assert {found[key] for key in unknown} == {None}
    assert (found["frequencies_mhz"], found["temperatures_c"], found["cores"]) == ([], {}, 0)
    assert counter(tmp_path) is None
    assert cpu_times(tmp_path) is None
    assert shares(None, None) == (None, None)
    assert memory_mb(tmp_path, "VmHWM") is None
    json.dumps(found, allow_nan=False)


def test_a_pc_has_no_device_tree(tmp_path):
    put(tmp_path, "sys/class/dmi/id/product_name", "NUC11ATKC4")
    put(tmp_path, "proc/cpuinfo", "processor\t: 0\nmodel name\t: Intel(R) N100\nprocessor\t: 1")
    found = snapshot(tmp_path, 0.0)
    assert (found["model"], found["soc"]) == ("NUC11ATKC4", "Intel(R) N100")


def test_zones_of_one_type_keep_apart_and_dead_ones_are_left_out(tmp_path):
    zone(tmp_path, 2, "soc", 40_000)
    zone(tmp_path, 10, "soc", 41_000)
    zone(tmp_path, 3, "gpu", "broken")
    assert snapshot(tmp_path, 0.0)["temperatures_c"] == {"soc": 40.0, "soc 10": 41.0}


def test_throttling_is_counted_where_it_can_be_seen(tmp_path):
    board = fake_board(tmp_path)
    cooler(board, 0, "pwm-fan", 3)  # a fan that turns
    assert throttles(board) is None
    cooler(board, 1, "thermal-cpufreq-0", 0)
    assert throttles(board) == 0
    cooler(board, 1, "thermal-cpufreq-0", 2)
    put(board, "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count", 5)
    assert throttles(board) == 6


def test_a_raspberry_pi_tells_its_own_way(tmp_path):
    place = "sys/devices/platform/soc/soc:firmware/get_throttled"
    put(tmp_path, place, "50000")  # happened since the start, not now
    assert throttles(tmp_path) == 0
    put(tmp_path, place, "50005")  # under-voltage and throttled, now
    assert throttles(tmp_path) == 2


def test_a_core_that_is_offline_has_no_clock(tmp_path):
    put(tmp_path, "sys/devices/system/cpu/cpu4/online", 0)
    found = snapshot(fake_board(tmp_path), 0.0)
    assert found["cores"] == 5
    assert len(found["frequencies_mhz"]) == len(found["frequencies_max_mhz"]) == 4


def test_own_time_idle_time_and_stolen_time_are_not_others_time(tmp_path):
    cpu_ticks(tmp_path, user=1000, system=200, idle=8000, steal=10, own=(500, 50))
    before = cpu_times(tmp_path)
    cpu_ticks(tmp_path, user=1260, system=240, idle=8580, iowait=10, steal=120, own=(700, 50))
    # 1000 ticks went by: 300 busy, of which 200 own; 590 idle; 110 stolen
    assert shares(before, cpu_times(tmp_path)) == (0.1, 0.11)
    assert shares(before, replace(before, busy=before.busy + 10, own=before.own + 11)) == (0.0, 0.0)
    assert shares(before, before) == (None, None)


def rapl(root, domain, name, microjoules, span=1_000_000):
    put(root, f"sys/class/powercap/{domain}/name", name)
    put(root, f"sys/class/powercap/{domain}/max_energy_range_uj", span)
    put(root, f"sys/class/powercap/{domain}/energy_uj", microjoules)


def test_energy_of_packages_alone_and_through_their_overflow(tmp_path):
    rapl(tmp_path, "intel-rapl:0", "package-0", 900_000)
    rapl(tmp_path, "intel-rapl:0:0", "core", 0)
    rapl(tmp_path, "intel-rapl:1", "psys", 0)
    used = counter(tmp_path)
    used.sample(0)
    for microjoules in (950_000, 20_000, 120_000):  # the second reading is after the overflow
        rapl(tmp_path, "intel-rapl:0", "package-0", microjoules)
        used.sample(0)
        rapl(tmp_path, "intel-rapl:0:0", "core", microjoules)  # is in package-0 already
        rapl(tmp_path, "intel-rapl:1", "psys", microjoules)  # has the packages in it
    assert used.name == "powercap intel-rapl"
    assert used.joules() == pytest.approx((50_000 + 70_000 + 100_000) / 1e6)


def test_energy_that_could_not_be_read_once_is_not_told(tmp_path):
    rapl(tmp_path, "intel-rapl:0", "package-0", 1000)
    used = counter(tmp_path)
    used.sample(0)
    (tmp_path / "sys/class/powercap/intel-rapl:0/energy_uj").unlink()
    used.sample(1)
    rapl(tmp_path, "intel-rapl:0", "package-0", 3000)
    used.sample(2)
    assert used.joules() is None


def ina3221(root, rails):
    put(root, "sys/class/hwmon/hwmon1/name", "ina3221")
    for number, (label, millivolts, milliamperes) in enumerate(rails, 1):
        put(root, f"sys/class/hwmon/hwmon1/in{number}_label", label)
        put(root, f"sys/class/hwmon/hwmon1/in{number}_input", millivolts)
        put(root, f"sys/class/hwmon/hwmon1/curr{number}_input", milliamperes)


def test_power_of_the_whole_board_is_joined_by_straight_lines(tmp_path):
    rails = [("VDD_CPU_GPU_CV", 5000, 100), ("VDD_IN", 5000, 1000), ("VDD_SOC", 5000, 10)]
    ina3221(tmp_path, rails)
    used = counter(tmp_path)
    assert used.name == "hwmon VDD_IN"
    used.sample(0)  # 5 W
    ina3221(tmp_path, [rails[0], ("VDD_IN", 5000, 3000), rails[2]])
    used.sample(2 * SECOND_NS)  # 15 W
    used.sample(3 * SECOND_NS)
    assert used.joules() == pytest.approx(10 * 2 + 15 * 1)


def test_of_several_nameless_rails_none_is_the_board(tmp_path):
    ina3221(tmp_path, [("A", 5000, 100), ("B", 5000, 100)])
    assert counter(tmp_path) is None


def test_a_single_power_sensor_in_microwatts(tmp_path):
    put(tmp_path, "sys/class/hwmon/hwmon0/name", "ina226")
    put(tmp_path, "sys/class/hwmon/hwmon0/power1_input", 2_500_000)
    used = counter(tmp_path)
    used.sample(0)
    used.sample(4 * SECOND_NS)
    assert (used.name, used.joules()) == ("hwmon ina226 1", pytest.approx(10))


def test_other_sensors_are_no_power_of_the_board(tmp_path):
    put(tmp_path, "sys/class/hwmon/hwmon0/name", "nvme")
    put(tmp_path, "sys/class/hwmon/hwmon0/power1_input", 2_500_000)
    assert counter(tmp_path) is None


def test_samples_between_runs_come_when_they_are_due(tmp_path):
    board = fake_board(tmp_path, mhz=2400)
    rapl(board, "intel-rapl:0", "package-0", 0, span=10**9)
    recorder = Recorder(board, began_ns=0, most_s=10.0)
    recorder.starting()
    due_ns = recorder._due_ns
    recorder.between(due_ns - 1)
    zone(board, 0, "cpu-thermal", 61_000)
    fake_frequency = board / "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq"
    fake_frequency.write_text("1500000\n")
    recorder.between(due_ns)
    recorder.between(due_ns + 1)
    cpu_ticks(board, user=1300, system=200, idle=8700, own=(600, 50))
    rapl(board, "intel-rapl:0", "package-0", 4_000_000, span=10**9)
    found = recorder.finished(runs=8)
    conditions = found["conditions"]
    [during] = conditions["during"]
    assert during["at_s"] == round(due_ns / 1e9, 3)
    assert during["frequencies_mhz"] == [1500.0, 1500.0, 2400.0, 2400.0]
    assert during["temperatures_c"] == {"cpu-thermal": 61.0}
    assert conditions["before"]["temperatures_c"] == {"cpu-thermal": 51.25}
    assert conditions["after"]["temperatures_c"] == {"cpu-thermal": 61.0}
    assert conditions["other_cpu_share"] == 0.2  # 300 busy less 100 own, of 1000
    assert conditions["steal_share"] == 0.0
    assert (found["energy_j_per_frame"], found["energy_counter"]) == (0.5, "powercap intel-rapl")


def test_a_long_run_keeps_a_bounded_number_of_samples(tmp_path):
    assert Recorder(tmp_path, 0, most_s=1.0)._interval_ns == LEAST_INTERVAL_S * SECOND_NS
    assert Recorder(tmp_path, 0, most_s=4000.0)._interval_ns == 10 * SECOND_NS
