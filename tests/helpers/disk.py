"""What a disk may hold after the power went, by what was done to it until then.

A file that was not synced may be whole, torn or empty. A name that was made, moved or removed may be as it was before, each
by itself and in any order, until its folder was synced.
"""

import itertools


class File:
    def __init__(self, data=b"", *, is_safe=False):
        self.data, self.is_safe = data, is_safe

    def remains(self):
        """All that it may hold."""
        return {self.data} if self.is_safe else {self.data, self.data[: len(self.data) // 2], b""}


class Folder:
    def __init__(self, names):
        self.safe, self.changes = names, []

    def after(self, changes):
        """Its names, and what they are of, when these changes came down to the disk."""
        names = dict(self.safe)
        for change in changes:
            names |= change
        return {name: entry for name, entry in names.items() if entry}

    def remains(self):
        """All that it may hold: sets of pairs of a name and what that holds."""
        found = set()
        for came_down in itertools.product((True, False), repeat=len(self.changes)):
            names = self.after(itertools.compress(self.changes, came_down))
            contents = itertools.product(*(entry.remains() for entry in names.values()))
            found |= {frozenset(zip(names, each, strict=True)) for each in contents}
        return found


class Disk:
    """With one folder of files, all safe; has the operations of `ddpkit.runs.files.Files`, one file open at a time."""

    def __init__(self, folder):
        self.root, self.top, self.opened = folder, found(folder), None

    def remains(self):
        return self.top.remains()

    def entry(self, path):
        """What is there now."""
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
        self.opened.is_safe = False

    def sync(self, _):
        self.opened.is_safe = True

    def close(self, _):
        self.opened = None

    def rename(self, old, new):
        self.change(old.parent, {old.name: None, new.name: self.entry(old)})

    def sync_folder(self, folder):
        synced = self.entry(folder)
        synced.safe, synced.changes = synced.after(synced.changes), []

    def remove(self, file):
        self.change(file.parent, {file.name: None})

    remove_folder = remove


def found(path):
    """A file or folder as it is."""
    return Folder({each.name: found(each) for each in path.iterdir()}) if path.is_dir() else File(path.read_bytes(), is_safe=True)


def put_back(held, path):
    """Make what one of the remains of a disk holds."""
    if isinstance(held, bytes):
        path.write_bytes(held)
        return
    path.mkdir()
    for name, each in held:
        put_back(each, path / name)
