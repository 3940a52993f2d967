"""launches.py FILE...: whether what `quern explain --json` says of launches is of them."""
import json
import sys


def numbers(value):
    if isinstance(value, dict):
        for key, entry in value.items():
            if "bytes" in key or "sectors" in key:
                if isinstance(entry, (int, float)):
                    yield key, entry
            yield from numbers(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from numbers(entry)


for name in sys.argv[1:]:
    explained = json.load(open(name))
    launches = explained["launches"]
    uses = [(path["buffer"], use) for path in explained["scale_paths"] for use in path["uses"]]
    assert uses
    for buffer, use in uses:
        assert buffer in launches[use["launch"]]["buffers"], (name, buffer, use)
        assert "product" not in use["how"] or "product" in launches[use["launch"]]["kernel"], use
    packs = 0
    for launch in launches:
        packs += ".pack" in launch["kernel"]
        assert ("predicted" in launch) == (".pack" not in launch["kernel"]), launch
        products = any("product of" in part["what"] for part in launch.get("operations", []))
        assert products == ("one product" in launch["reason"]), launch
        for predicted in launch.get("predicted", []):
            if predicted.get("skipped"):
                assert "when" in launch, launch
                continue
            assert {entry["buffer"] for entry in predicted["buffers"]} <= set(launch["buffers"]), launch
    assert packs > 0 or not explained["target"].startswith("cpu"), name
    found = list(numbers(explained))
    assert found
    for key, number in found:
        assert number >= 0, (name, key, number)
    # A value without a name has scales, too, and moving them counts.
    for site in explained.get("quantizations", []):
        for option in site["options"]:
            for predicted, static in zip(option.get("predicted", []), site["static"]):
                if option["placement"] == "separate" and predicted["sizes"] != [0]:
                    assert predicted["bytes"] > static["bytes"], (name, site["value"])
