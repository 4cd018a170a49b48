"""The secret of a folder: made once, kept from other users, known to Prefect's own commands."""

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from brmrs.errors import UserError
from flows.server import secret, settings

ROOT = Path(__file__).parents[3]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can act as another user")


@pytest.fixture(autouse=True)
def no_secret_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(secret.CLIENT, raising=False)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_it_is_made_once_and_only_the_user_can_read_it(tmp_path: Path) -> None:
    profiles = tmp_path / ".prefect" / "profiles.toml"
    assert secret.find(profiles) is None
    made = secret.find_or_make(profiles)
    assert len(made) > 40
    assert (mode(profiles), mode(profiles.parent)) == (0o600, 0o700)
    assert secret.find_or_make(profiles) == secret.find(profiles) == made
    assert [path.name for path in profiles.parent.iterdir()] == ["profiles.toml"]
    assert secret.find_or_make(tmp_path / "other" / "profiles.toml") != made


def test_a_secret_that_others_could_read_is_replaced(tmp_path: Path) -> None:
    profiles = tmp_path / ".prefect" / "profiles.toml"
    first = secret.find_or_make(profiles)
    profiles.chmod(0o644)
    assert secret.find_or_make(profiles) != first
    assert mode(profiles) == 0o600


def test_the_folder_of_the_profiles_keeps_its_permissions(tmp_path: Path) -> None:
    """It may be the user's home, or /tmp."""
    for number, before in enumerate((0o755, 0o1777)):
        folder = tmp_path / str(number)
        folder.mkdir()
        folder.chmod(before)
        made = secret.find_or_make(folder / "profiles.toml")
        assert mode(folder) == before
        assert secret.find_or_make(folder / "profiles.toml") == made


def test_a_folder_where_others_may_replace_the_secret_is_refused(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    with pytest.raises(UserError, match="other users may write there"):
        secret.find_or_make(tmp_path / "profiles.toml")
    assert not (tmp_path / "profiles.toml").exists()


@needs_root
def test_a_secret_that_another_user_wrote_is_replaced(tmp_path: Path) -> None:
    profiles = tmp_path / "profiles.toml"
    first = secret.find_or_make(profiles)
    os.chown(profiles, 12345, 12345)
    assert secret.find_or_make(profiles) != first
    assert profiles.stat().st_uid == 0


def test_a_folder_of_all_users_does_not_become_prefect_s(tmp_path: Path) -> None:
    tmp_path.chmod(0o1777)
    with pytest.raises(UserError, match="a folder of all users"):
        secret.private_folder(tmp_path)
    assert mode(tmp_path) == 0o1777


def test_the_user_s_own_profiles_stay(tmp_path: Path) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text('active = "mine"\n[profiles.mine]\nPREFECT_LOGGING_LEVEL = "DEBUG"\n')
    made = secret.find_or_make(profiles)
    text = profiles.read_text()
    assert 'active = "mine"' in text
    assert 'PREFECT_LOGGING_LEVEL = "DEBUG"' in text
    assert f'{secret.CLIENT} = "{made}"' in text


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(secret.CLIENT, "me:password")
    assert secret.find_or_make(tmp_path / "profiles.toml") == "me:password"
    assert not (tmp_path / "profiles.toml").exists()


def test_prefect_s_commands_in_the_folder_know_it(tmp_path: Path) -> None:
    shutil.copy(ROOT / "prefect.toml", tmp_path)
    made = secret.find_or_make(tmp_path / ".prefect" / "profiles.toml")
    code = (
        "from prefect.settings import get_current_settings\n"
        "print(get_current_settings().api.auth_string.get_secret_value())"
    )
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=clean, capture_output=True, text=True
    )
    assert done.stdout.strip() == made, done.stderr


def test_a_prefect_toml_that_does_not_name_the_profiles_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("PREFECT_HOME", "PREFECT_PROFILES_PATH"):
        monkeypatch.delenv(name, raising=False)
    (tmp_path / "prefect.toml").write_text('home = ".prefect"\n')
    old = settings.read()
    assert (old.profiles, old.prefect_finds_profiles) == (Path(".prefect/profiles.toml"), False)
    shutil.copy(ROOT / "prefect.toml", tmp_path)
    assert settings.read().prefect_finds_profiles


@pytest.mark.parametrize("text", ["active = [", "profiles = 3", "[profiles]\nbrmrs = 3"])
def test_a_damaged_file_is_one_line(tmp_path: Path, text: str) -> None:
    profiles = tmp_path / "profiles.toml"
    profiles.write_text(text)
    with pytest.raises(UserError, match=r"profiles\.toml: .*; (correct or )?remove"):
        secret.find_or_make(profiles)


@pytest.mark.parametrize("old", [0o755, 0o777])
def test_a_folder_that_others_can_read_is_closed(tmp_path: Path, old: int) -> None:
    folder = tmp_path / ".prefect"
    folder.mkdir()
    folder.chmod(old)
    secret.private_folder(folder)
    assert mode(folder) == 0o700
    assert not list(folder.iterdir())


def as_user(uid: int, code: str) -> subprocess.CompletedProcess[str]:
    """Run Python code as another user, with this project's packages loaded before."""
    setup = f"import os; from flows.server import secret; os.setgid({uid}); os.setuid({uid})\n"
    return subprocess.run(
        [sys.executable, "-c", setup + code], cwd=ROOT, capture_output=True, text=True, check=False
    )


@needs_root
def test_a_folder_of_another_user_is_refused(tmp_path: Path) -> None:
    of_pytest = [each for each in tmp_path.parents if each.name.startswith(("pytest-", "popen-"))]
    for parent in [tmp_path, *of_pytest]:
        parent.chmod(0o755)
    folder = tmp_path / ".prefect"
    folder.mkdir(mode=0o755)
    code = f"from pathlib import Path; secret.private_folder(Path({str(folder)!r}))"
    done = as_user(12345, code)
    assert "UserError" in done.stderr
    assert ".prefect belongs to another user" in done.stderr
    assert "PREFECT_HOME" in done.stderr


def test_a_folder_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"file/\.prefect: Not a directory; .*PREFECT_HOME"):
        secret.private_folder(tmp_path / "file" / ".prefect")


def test_a_limit_on_file_sizes_is_one_line(tmp_path: Path) -> None:
    code = (
        "import resource; from pathlib import Path; from flows.server import secret\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2**16, 2**16))\n"
        f"secret.private_folder(Path({str(tmp_path / '.prefect')!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert ".prefect: File too large; " in done.stderr
    assert not list((tmp_path / ".prefect").iterdir())
