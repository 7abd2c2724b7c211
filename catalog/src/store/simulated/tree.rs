//! Files and directories, each as it is seen and as it is durable.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io;
use std::ops::Range;
use std::path::{Component, Path};
use std::time::{Duration, SystemTime};

use super::fault::Loss;
use crate::store::disk::Stat;

/// A file's or directory's number. What has no name any more stays, for those who have it open.
pub(super) type Inode = usize;

type Entries = BTreeMap<OsString, Inode>;

#[derive(Clone, Debug)]
enum Node {
    File(File),
    Folder { seen: Entries, durable: Entries },
}

#[derive(Clone, Debug, Default)]
struct File {
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// What the kernel dropped after a failed sync: the next sync makes zeros of it.
    dropped: Vec<Range<usize>>,
    /// Ticks of its last change.
    modified: u64,
}

/// A disk's content. The root is there from the beginning.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    nodes: Vec<Node>,
    ticks: u64,
}

impl Default for Tree {
    fn default() -> Self {
        Tree { nodes: vec![Node::Folder { seen: Entries::new(), durable: Entries::new() }], ticks: 0 }
    }
}

fn not_found() -> io::Error {
    io::ErrorKind::NotFound.into()
}

impl Tree {
    fn find(&self, path: &Path) -> io::Result<Inode> {
        let mut at = 0;
        for part in path.components() {
            match part {
                Component::RootDir | Component::CurDir => {}
                Component::Normal(name) => at = *self.entries(at)?.get(name).ok_or_else(not_found)?,
                Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidInput.into()),
            }
        }
        Ok(at)
    }

    /// The folder a path lies in and its name there.
    fn place<'a>(&self, path: &'a Path) -> io::Result<(Inode, &'a OsStr)> {
        let name = path.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let folder = self.find(path.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        self.entries(folder)?;
        Ok((folder, name))
    }

    fn entries(&self, folder: Inode) -> io::Result<&Entries> {
        match &self.nodes[folder] {
            Node::Folder { seen, .. } => Ok(seen),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn entries_mut(&mut self, folder: Inode) -> io::Result<&mut Entries> {
        match &mut self.nodes[folder] {
            Node::Folder { seen, .. } => Ok(seen),
            Node::File(_) => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    fn file(&self, inode: Inode) -> io::Result<&File> {
        match &self.nodes[inode] {
            Node::File(file) => Ok(file),
            Node::Folder { .. } => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn file_mut(&mut self, inode: Inode) -> io::Result<&mut File> {
        match &mut self.nodes[inode] {
            Node::File(file) => Ok(file),
            Node::Folder { .. } => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn tick(&mut self) -> u64 {
        self.ticks += 1;
        self.ticks
    }

    fn add(&mut self, path: &Path, node: Node) -> io::Result<Inode> {
        let (folder, name) = self.place(path)?;
        let inode = self.nodes.len();
        let entries = self.entries_mut(folder)?;
        if entries.contains_key(name) {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        entries.insert(name.to_owned(), inode);
        self.nodes.push(node);
        Ok(inode)
    }

    pub fn create(&mut self, path: &Path) -> io::Result<Inode> {
        let modified = self.tick();
        self.add(path, Node::File(File { modified, ..File::default() }))
    }

    pub fn open_or_create(&mut self, path: &Path) -> io::Result<Inode> {
        match self.find(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.create(path),
            found => found.and_then(|inode| self.file(inode).map(|_| inode)),
        }
    }

    pub fn make_dir(&mut self, path: &Path) -> io::Result<()> {
        self.add(path, Node::Folder { seen: Entries::new(), durable: Entries::new() }).map(drop)
    }

    pub fn open(&self, path: &Path) -> io::Result<(Inode, u64)> {
        let inode = self.find(path)?;
        Ok((inode, self.file(inode)?.seen.len() as u64))
    }

    pub fn read(&self, inode: Inode, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let bytes = &self.file(inode)?.seen;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let len = buffer.len().min(bytes.len() - start);
        buffer[..len].copy_from_slice(&bytes[start..start + len]);
        Ok(len)
    }

    pub fn write(&mut self, inode: Inode, bytes: &[u8]) -> io::Result<usize> {
        let modified = self.tick();
        let file = self.file_mut(inode)?;
        file.seen.extend_from_slice(bytes);
        file.modified = modified;
        Ok(bytes.len())
    }

    pub fn truncate(&mut self, inode: Inode, len: u64) -> io::Result<()> {
        let modified = self.tick();
        let file = self.file_mut(inode)?;
        let len = usize::try_from(len).map_err(io::Error::other)?;
        file.seen.resize(len, 0);
        file.dropped.iter_mut().for_each(|range| range.end = range.end.min(len));
        file.dropped.retain(|range| range.start < range.end);
        file.modified = modified;
        Ok(())
    }

    pub fn sync_file(&mut self, inode: Inode) -> io::Result<()> {
        let file = self.file_mut(inode)?;
        file.durable.clone_from(&file.seen);
        file.dropped.iter().for_each(|range| file.durable[range.clone()].fill(0));
        Ok(())
    }

    /// A sync failed: what it was to make durable will never be.
    pub fn drop_pages(&mut self, inode: Inode) {
        if let Ok(file) = self.file_mut(inode) {
            let kept = file.seen.iter().zip(&file.durable).take_while(|(seen, durable)| seen == durable).count();
            if kept < file.seen.len() {
                file.dropped.push(kept..file.seen.len());
            }
        }
    }

    pub fn sync_dir(&mut self, path: &Path) -> io::Result<()> {
        let inode = self.find(path)?;
        match &mut self.nodes[inode] {
            Node::Folder { seen, durable } => durable.clone_from(seen),
            Node::File(file) => file.durable.clone_from(&file.seen),
        }
        Ok(())
    }

    pub fn rename(&mut self, from: &Path, to: &Path, replace: bool) -> io::Result<()> {
        let (old_folder, old_name) = self.place(from)?;
        let inode = *self.entries(old_folder)?.get(old_name).ok_or_else(not_found)?;
        let (new_folder, new_name) = self.place(to)?;
        if let Some(&held) = self.entries(new_folder)?.get(new_name) {
            if !replace {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            self.file(held).and_then(|_| self.file(inode))?;
        }
        self.entries_mut(old_folder)?.remove(old_name);
        self.entries_mut(new_folder)?.insert(new_name.to_owned(), inode);
        Ok(())
    }

    pub fn remove_file(&mut self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        let inode = *self.entries(folder)?.get(name).ok_or_else(not_found)?;
        self.file(inode)?;
        self.entries_mut(folder)?.remove(name);
        Ok(())
    }

    pub fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let (folder, name) = self.place(path)?;
        let inode = *self.entries(folder)?.get(name).ok_or_else(not_found)?;
        if !self.entries(inode)?.is_empty() {
            return Err(io::ErrorKind::DirectoryNotEmpty.into());
        }
        self.entries_mut(folder)?.remove(name);
        Ok(())
    }

    fn stat_of(&self, inode: Inode) -> Stat {
        match &self.nodes[inode] {
            Node::File(file) => Stat {
                len: file.seen.len() as u64,
                modified: SystemTime::UNIX_EPOCH + Duration::from_millis(file.modified),
                is_dir: false,
                is_file: true,
            },
            Node::Folder { .. } => Stat { len: 0, modified: SystemTime::UNIX_EPOCH, is_dir: true, is_file: false },
        }
    }

    pub fn stat(&self, path: &Path) -> io::Result<Stat> {
        self.find(path).map(|inode| self.stat_of(inode))
    }

    pub fn list(&self, path: &Path) -> io::Result<Vec<(OsString, Stat)>> {
        let entries = self.entries(self.find(path)?)?;
        Ok(entries.iter().map(|(name, inode)| (name.clone(), self.stat_of(*inode))).collect())
    }

    /// What is left after the power failed.
    pub fn lose(&mut self, loss: Loss) {
        for node in &mut self.nodes {
            match node {
                Node::Folder { seen, durable } if loss == Loss::Bytes => durable.clone_from(seen),
                Node::Folder { seen, durable } => seen.clone_from(durable),
                Node::File(file) => {
                    if loss == Loss::Torn && file.seen.len() > file.durable.len() {
                        let kept = file.durable.len() + (file.seen.len() - file.durable.len()) / 2;
                        let gained = file.durable.len()..kept;
                        file.durable.extend_from_slice(&file.seen[gained]);
                    }
                    file.seen.clone_from(&file.durable);
                    file.dropped.clear();
                }
            }
        }
    }
}
