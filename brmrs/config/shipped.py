"""The configurations that come with the package, found in any folder."""

from pathlib import Path

PACKAGE = Path(__file__).parents[1]
NAME = "configs"


def shipped_configs() -> Path:
    """Their folder: inside the installed package, or at the root of a checkout."""
    inside = PACKAGE / NAME
    return inside if inside.is_dir() else PACKAGE.parent / NAME


def shipped_names() -> list[str]:
    """Their paths as a user writes them, such as `configs/models/ease.yaml`; sorted."""
    folder = shipped_configs()
    return sorted(
        f"{NAME}/{path.relative_to(folder).as_posix()}" for path in folder.rglob("*.yaml")
    )


def find(path: Path) -> Path:
    """The file itself if there is one, else the shipped file of the same name.

    `configs/models/ease.yaml` is that file in the working directory, or the shipped one.
    """
    if path.exists() or path.is_absolute() or path.parts[:1] != (NAME,):
        return path
    shipped = shipped_configs().joinpath(*path.parts[1:])
    return shipped if shipped.is_file() and ".." not in path.parts else path
