//! What both offer: calls, memory to hand over, and a directory to work in.

/// One of the two.
pub(crate) trait Machine {
    /// Makes a call; returns its result or the negative error number. Waits if the call does.
    fn call(&mut self, number: i64, arguments: [u64; 6]) -> i64;
    /// Copies to memory that the calls can see.
    fn put(&mut self, at: u64, bytes: &[u8]);
    /// Copies from there.
    fn get(&mut self, at: u64, len: usize) -> Vec<u8>;
    /// A directory that is empty and may be written to.
    fn directory(&self) -> String;
    /// An address at which the program reaches itself.
    fn far(&self) -> [u8; 4];
    /// A port for a listener; few numbers, one for each case.
    fn port(&self, number: u16) -> u16;
    /// Lets everything arrive that is under way.
    fn settle(&mut self);
}

/// A case.
pub(crate) type Case = fn(&mut Kernel<'_>, &mut Record);

/// What was seen.
#[derive(Default)]
pub(crate) struct Record(Vec<String>);

impl Record {
    /// Writes something down.
    pub(crate) fn note(&mut self, what: &str, value: impl std::fmt::Debug) {
        self.0.push(format!("{what}: {value:?}"));
    }

    pub(crate) fn lines(&self) -> Vec<String> {
        self.0.clone()
    }
}

/// A machine with calls made easy.
pub(crate) struct Kernel<'m> {
    machine: &'m mut dyn Machine,
    /// Memory for what is handed over.
    pub(crate) buffer: u64,
    pub(crate) directory: String,
}

/// Bytes of [`Kernel::buffer`]; paths stand behind.
pub(crate) const BUFFER: u64 = 1 << 20;
pub(crate) const CWD: u64 = (-100_i64).cast_unsigned();
const PATHS: u64 = BUFFER;

impl<'m> Kernel<'m> {
    pub(crate) fn new(machine: &'m mut dyn Machine) -> Self {
        let directory = machine.directory();
        let buffer = machine.call(libc::SYS_mmap, [0, BUFFER + 65_536, 3, 0x22, u64::MAX, 0]);
        assert!(buffer > 0, "no buffer: {buffer}");
        let kernel = Self { machine, buffer: buffer.cast_unsigned(), directory };
        kernel.machine.call(libc::SYS_umask, [0o22, 0, 0, 0, 0, 0]);
        // Descriptor 3 is the control stream in the one and nothing in the other.
        kernel.machine.call(libc::SYS_close, [3, 0, 0, 0, 0, 0]);
        kernel
    }

    pub(crate) fn call(&mut self, number: i64, arguments: &[u64]) -> i64 {
        let mut all = [0; 6];
        all[..arguments.len()].copy_from_slice(arguments);
        self.machine.call(number, all)
    }

    pub(crate) fn put(&mut self, at: u64, bytes: &[u8]) {
        self.machine.put(at, bytes);
    }

    pub(crate) fn get(&mut self, at: u64, len: usize) -> Vec<u8> {
        self.machine.get(at, len)
    }

    pub(crate) fn far(&self) -> [u8; 4] {
        self.machine.far()
    }

    pub(crate) fn port(&self, number: u16) -> u16 {
        self.machine.port(number)
    }

    pub(crate) fn settle(&mut self) {
        self.machine.settle();
    }

    /// Puts a path into memory: below the directory, unless it is absolute.
    pub(crate) fn path(&mut self, path: &str) -> u64 {
        self.path_at(0, path)
    }

    pub(crate) fn path_at(&mut self, index: u64, path: &str) -> u64 {
        let whole =
            if path.starts_with('/') { path.to_owned() } else { format!("{}/{path}", self.directory) };
        self.raw_path(index, &whole)
    }

    pub(crate) fn raw_path(&mut self, index: u64, path: &str) -> u64 {
        let at = self.buffer + PATHS + 16_384 * index;
        self.put(at, path.as_bytes());
        self.put(at + path.len() as u64, &[0]);
        at
    }

    pub(crate) fn open(&mut self, path: &str, flags: i32) -> i64 {
        let path = self.path(path);
        self.call(libc::SYS_openat, &[CWD, path, u64::from(flags.cast_unsigned()), 0o666])
    }

    pub(crate) fn close(&mut self, fd: i64) -> i64 {
        self.call(libc::SYS_close, &[fd.cast_unsigned()])
    }

    pub(crate) fn write(&mut self, fd: i64, bytes: &[u8]) -> i64 {
        self.put(self.buffer, bytes);
        self.call(libc::SYS_write, &[fd.cast_unsigned(), self.buffer, bytes.len() as u64])
    }

    pub(crate) fn read(&mut self, fd: i64, len: u64) -> (i64, Vec<u8>) {
        let got = self.call(libc::SYS_read, &[fd.cast_unsigned(), self.buffer, len]);
        let bytes = self.get(self.buffer, usize::try_from(got).unwrap_or(0));
        (got, bytes)
    }

    pub(crate) fn mkdir(&mut self, path: &str) -> i64 {
        let path = self.path(path);
        self.call(libc::SYS_mkdir, &[path, 0o777])
    }

    pub(crate) fn rename(&mut self, from: &str, to: &str) -> i64 {
        let (from, to) = (self.path_at(0, from), self.path_at(1, to));
        self.call(libc::SYS_rename, &[from, to])
    }

    /// Makes a file with something in it.
    pub(crate) fn file(&mut self, path: &str, bytes: &[u8]) {
        let fd = self.open(path, libc::O_WRONLY | libc::O_CREAT | libc::O_TRUNC);
        assert!(fd >= 0, "{path}: {fd}");
        assert_eq!(self.write(fd, bytes), i64::try_from(bytes.len()).unwrap());
        self.close(fd);
    }

    /// What is in a file, or why not.
    pub(crate) fn content(&mut self, path: &str) -> (i64, Vec<u8>) {
        let fd = self.open(path, libc::O_RDONLY);
        if fd < 0 {
            return (fd, Vec::new());
        }
        let read = self.read(fd, 65_536);
        self.close(fd);
        read
    }
}
