# SPDX-License-Identifier: Apache-2.0
"""What may be in a bundle: certbot's own paths and links, and nothing that leads elsewhere."""

import pytest

from certbot_enclave.sealing import carried, tree

L = "example.com"
FILES = [
    "accounts/ca.test/directory/ab12/private_key.json",
    f"archive/{L}/privkey1.pem",
    f"archive/*.{L}/fullchain999999.pem",
    "enclave/settings.json",
    "enclave/pending.json",
    "enclave/rehearsed.json",
    "live/README",
    f"live/{L}/README",
    f"renewal/{L}.conf",
]
NO_FILES = [
    "",
    "/accounts/x",
    "accounts",
    "accounts/../../x",
    "accounts/./x",
    "accounts//x",
    "accounts/\n",
    "accounts-x",
    f"archive/{L}/privkey0.pem",
    f"archive/{L}/privkey1000000.pem",
    f"archive/{L}/privkey.pem",
    f"archive/{L}/other1.pem",
    f"archive/{L}/x/privkey1.pem",
    "archive/../privkey1.pem",
    "bundle.json",
    "cli.ini",
    "csr/0000_csr-certbot.pem",
    "enclave/boot.json",
    "enclave/evidence.json",
    "keys/0000_key-certbot.pem",
    f"live/{L}/privkey.pem",
    f"renewal/{L}",
    "renewal/x/y.conf",
    "renewal-hooks/pre/x",
]
FOLDERS = ["accounts", "accounts/a/b", "archive", f"archive/{L}", "enclave", "live", f"live/{L}"]
NO_FOLDERS = ["", ".", "..", "accounts/..", f"archive/{L}/x", "enclave/x", "renewal-hooks", "keys"]
LINK, TARGET = f"live/{L}/privkey.pem", f"../../archive/{L}/privkey7.pem"
NO_LINKS = [
    (f"live/{L}/other.pem", f"../../archive/{L}/other7.pem"),
    (f"live/{L}/cert.pem", TARGET),
    ("live/other/privkey.pem", TARGET),
    ("live/../privkey.pem", "../../archive/../privkey7.pem"),
    (LINK, f"../archive/{L}/privkey7.pem"),
    (LINK, f"/archive/{L}/privkey7.pem"),
    (LINK, f"../../../archive/{L}/privkey7.pem"),
    (LINK, f"../../archive/{L}/privkey0.pem"),
    (LINK, f"../../archive/{L}/cert7.pem"),
    (LINK, "/etc/shadow"),
    (f"accounts/{L}/privkey.pem", TARGET),
]


@pytest.mark.parametrize("path", FILES)
def test_files(path):
    assert carried.is_file(path)
    tree.check(tree.File(path, 0o600, b""))
    with pytest.raises(ValueError, match="does not belong"):
        tree.check(tree.File(path, 0o700, b""))


@pytest.mark.parametrize("path", NO_FILES)
def test_no_files(path):
    assert not carried.is_file(path)
    with pytest.raises(ValueError, match="does not belong"):
        tree.check(tree.File(path, 0o600, b""))


@pytest.mark.parametrize("path", FOLDERS)
def test_folders(path):
    tree.check(tree.Folder(path, 0o755))
    with pytest.raises(ValueError, match="does not belong"):
        tree.check(tree.Folder(path, 0o777))


@pytest.mark.parametrize("path", NO_FOLDERS)
def test_no_folders(path):
    with pytest.raises(ValueError, match="does not belong"):
        tree.check(tree.Folder(path, 0o700))


def test_link():
    assert carried.target_of(LINK, TARGET) == f"archive/{L}/privkey7.pem"
    tree.check(tree.Link(LINK, TARGET))


def test_link_that_says_its_whole_path():
    target = TARGET.replace("../..", "/etc/letsencrypt")
    assert carried.target_of(LINK, target, "/etc/letsencrypt") == f"archive/{L}/privkey7.pem"
    assert carried.target_of(LINK, TARGET, "/etc/letsencrypt") == f"archive/{L}/privkey7.pem"
    for top in ("", "/etc", "/etc/letsencryp", "/etc/letsencrypt2"):
        assert carried.target_of(LINK, target, top) is None


@pytest.mark.parametrize(("path", "target"), NO_LINKS)
def test_no_links(path, target):
    assert carried.target_of(path, target) is None
    with pytest.raises(ValueError, match="does not belong"):
        tree.check(tree.Link(path, target))


@pytest.mark.parametrize("mode", [0o400, 0o600, 0o640, 0o644, 0o440])
def test_modes_that_are_kept(mode):
    assert carried.file_mode(mode) == mode


@pytest.mark.parametrize("mode", [0, 0o200, 0o700, 0o660, 0o622, 0o4600, 0o777])
def test_modes_that_become_private(mode):
    assert carried.file_mode(mode) == 0o600


@pytest.mark.parametrize(("mode", "kept"), [(0o755, 0o755), (0o700, 0o700), (0o750, 0o750)])
def test_folder_modes_that_are_kept(mode, kept):
    assert carried.folder_mode(mode) == kept


@pytest.mark.parametrize("mode", [0o777, 0o500, 0o1777, 0o770])
def test_folder_modes_that_become_private(mode):
    assert carried.folder_mode(mode) == 0o700


@pytest.mark.parametrize(
    ("path", "lineage"),
    [
        (f"archive/{L}/privkey1.pem", L),
        (f"archive/{L}", L),
        (f"live/{L}/cert.pem", L),
        (f"live/{L}/README", L),
        (f"renewal/{L}.conf", L),
        ("live/README", None),
        ("live", None),
        ("renewal", None),
        ("accounts/ca.test/directory/ab12/regr.json", None),
        ("enclave/looks.json", None),
    ],
)
def test_lineage_of_a_path(path, lineage):
    assert carried.lineage_of(path) == lineage


@pytest.mark.parametrize(
    ("target", "number"), [("a1.pem", 1), (f"../../archive/{L}/cert42.pem", 42)]
)
def test_generation_of_a_link(target, number):
    assert carried.generation_of(target) == number
