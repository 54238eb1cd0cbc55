"""Changes of the deployed files, by folder and name rather than by hash."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from kennel.stage.assemblies import Asset, Side


@dataclass(frozen=True)
class AssetChange:
    """An asset of a stack that is added, removed or changed; which files, where both sides have theirs here."""

    stack: str
    name: str
    verb: str
    files: dict[str, str] = field(default_factory=dict)


def asset_changes(base: Side, head: Side) -> list[AssetChange]:
    """The assets that differ. What is deployed knows no names: its hashes are held against those of the other side."""
    return [
        change
        for stack in dict.fromkeys([*head.assets, *base.assets])
        for change in _of(stack, base.assets.get(stack, []), head.assets.get(stack, []))
    ]


def _of(stack: str, old: list[Asset], new: list[Asset]) -> Iterator[AssetChange]:
    same = {asset.hash for asset in old} & {asset.hash for asset in new}
    before = {asset.name: asset for asset in old if asset.hash not in same}
    for asset in new:
        if asset.hash in same:
            continue
        # Without a name it is of what is deployed, and one of these is it.
        predecessor = before.pop(asset.name, None) or before.pop("", None)
        if predecessor is None:
            yield AssetChange(stack, asset.name, "is new")
        else:
            yield AssetChange(stack, asset.name, "changes", dict(_files(predecessor, asset)))
    for asset in before.values():
        yield AssetChange(stack, asset.name or "an asset", "goes")


def _files(old: Asset, new: Asset) -> Iterator[tuple[str, str]]:
    before, after = old.files(), new.files()
    if not before or not after:
        return
    for path in sorted({*before, *after}):
        if path not in before:
            yield path, "is new"
        elif path not in after:
            yield path, "goes"
        elif before[path] != after[path]:
            yield path, "changes"
