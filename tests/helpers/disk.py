"""Model of the possible contents of a disk after a power loss.

A file that was not synced may be complete, truncated or empty. A name that was created, renamed or removed may still be in
its previous state, independently of other names, until its folder was synced.
"""

import itertools


class File:
    def __init__(self, data=b"", *, is_synced=False):
        self.data, self.is_synced = data, is_synced

    def possible_contents(self):
        """Return all contents that a power loss may leave."""
        return {self.data} if self.is_synced else {self.data, self.data[: len(self.data) // 2], b""}


class Folder:
    def __init__(self, names):
        self.synced, self.changes = names, []

    def after(self, changes):
        """Return its entries by name, if these changes reached the disk."""
        names = dict(self.synced)
        for change in changes:
            names |= change
        return {name: entry for name, entry in names.items() if entry}

    def possible_contents(self):
        """Return all contents that a power loss may leave, each as a set of (name, content) pairs."""
        found = set()
        for persisted in itertools.product((True, False), repeat=len(self.changes)):
            names = self.after(itertools.compress(self.changes, persisted))
            contents = itertools.product(*(entry.possible_contents() for entry in names.values()))
            found |= {frozenset(zip(names, each, strict=True)) for each in contents}
        return found


class Disk:
    """Disk with one folder, initially synced. It has the operations of `ddpkit.runs.files.Files`; only one file can be open."""

    def __init__(self, folder):
        self.root, self.top, self.opened = folder, found(folder), None

    def possible_contents(self):
        return self.top.possible_contents()

    def entry(self, path):
        """Return the current file or folder at a path."""
        entry = self.top
        for name in path.relative_to(self.root).parts:
            entry = entry.after(entry.changes)[name]
        return entry

    def change(self, folder, names):
        self.entry(folder).changes.append(names)

    def make_folder(self, folder):
        self.change(folder.parent, {folder.name: Folder({})})

    def create(self, file):
        self.opened = File()
        self.change(file.parent, {file.name: self.opened})

    def write(self, _, chunk):
        self.opened.data += chunk
        self.opened.is_synced = False

    def sync(self, _):
        self.opened.is_synced = True

    def close(self, _):
        self.opened = None

    def rename(self, old, new):
        self.change(old.parent, {old.name: None, new.name: self.entry(old)})

    def sync_folder(self, folder):
        entry = self.entry(folder)
        entry.synced, entry.changes = entry.after(entry.changes), []

    def remove(self, file):
        self.change(file.parent, {file.name: None})

    remove_folder = remove


def found(path):
    """Return the model of an existing file or folder, with everything synced."""
    return (
        Folder({each.name: found(each) for each in path.iterdir()}) if path.is_dir() else File(path.read_bytes(), is_synced=True)
    )


def restore(content, path):
    """Write one of the possible contents of a disk to a path."""
    if isinstance(content, bytes):
        path.write_bytes(content)
        return
    path.mkdir()
    for name, each in content:
        restore(each, path / name)
