//! The program in a pseudo-terminal, and the screen that a person would see.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, ExitStatus};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use pty_process::Size;
use pty_process::blocking::{Command, Pty, open};

/// Keys.
pub(crate) const ENTER: &str = "\r";
pub(crate) const TAB: &str = "\t";
pub(crate) const UP: &str = "\x1b[A";
pub(crate) const CTRL_C: &str = "\x03";
pub(crate) const CTRL_D: &str = "\x04";

pub(crate) const PROMPT: &str = "tidegate> ";

/// Timeout for the screen to show the expected text, and for the program to end.
const PATIENCE: Duration = Duration::from_secs(60);

/// A terminal with the program in it.
pub(crate) struct Terminal {
    pty: Arc<Pty>,
    process: Child,
    seen: Arc<Mutex<Seen>>,
}

struct Seen {
    screen: vt100::Parser,
    bytes: Vec<u8>,
}

impl Terminal {
    /// Starts the program with its catalog and history in `home`, and waits for its prompt.
    pub(crate) fn start(home: &Path, arguments: &[&str]) -> Self {
        Self::start_with(home, arguments, &[("NO_COLOR", "1")])
    }

    pub(crate) fn start_with(home: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Self {
        let (pty, pts) = open().unwrap();
        pty.resize(Size::new(40, 100)).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_tidegate"))
            .args(arguments)
            .env("TERM", "xterm-256color")
            .env_remove("NO_COLOR")
            .env("TIDEGATE_CATALOG", home.join("catalog.db"))
            .env("TIDEGATE_KEY_FILE", home.join("key"))
            .env("TIDEGATE_HISTORY", home.join("history"))
            .envs(env.iter().copied())
            .current_dir(home)
            .spawn(pts)
            .unwrap();
        let pty = Arc::new(pty);
        let seen = Arc::new(Mutex::new(Seen {
            screen: vt100::Parser::new(40, 100, 0),
            bytes: Vec::new(),
        }));
        let (reader, screen) = (Arc::clone(&pty), Arc::clone(&seen));
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = (&*reader).read(&mut buffer) {
                let mut seen = screen.lock().unwrap();
                seen.screen.process(&buffer[..count]);
                seen.bytes.extend_from_slice(&buffer[..count]);
            }
        });
        let terminal = Self { pty, process, seen };
        terminal.wait_for(PROMPT.trim_end());
        terminal
    }

    /// Types `text`.
    pub(crate) fn send(&self, text: &str) {
        (&*self.pty).write_all(text.as_bytes()).unwrap();
    }

    /// Types a line on an empty screen, waits for the next prompt and returns the screen.
    pub(crate) fn run(&self, line: &str) -> String {
        self.clear();
        self.send(&format!("{line}{ENTER}"));
        self.wait_until("the next prompt", |screen| {
            let mut lines = screen.lines().filter(|line| !line.trim().is_empty());
            lines
                .next_back()
                .is_some_and(|last| last.trim_end() == PROMPT.trim_end())
                && (screen.matches(PROMPT.trim_end()).count() >= 2 || screen.lines().count() > 35)
        })
    }

    /// Types Ctrl-L and waits until only the prompt remains.
    pub(crate) fn clear(&self) {
        self.send("\x0c");
        self.wait_until("an empty screen", |screen| {
            screen.trim() == PROMPT.trim_end()
        });
    }

    /// Types Ctrl-C at the prompt, which discards the typed text, and waits for a new prompt.
    pub(crate) fn give_up(&self) {
        self.send(CTRL_C);
        self.wait_until("a new prompt", |screen| {
            screen.trim_end().ends_with(PROMPT.trim_end())
        });
    }

    pub(crate) fn screen(&self) -> String {
        self.seen.lock().unwrap().screen.screen().contents()
    }

    /// Everything the program has written.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        self.seen.lock().unwrap().bytes.clone()
    }

    pub(crate) fn wait_for(&self, text: &str) -> String {
        self.wait_until(text, |screen| screen.contains(text))
    }

    pub(crate) fn wait_until(&self, what: &str, holds: impl Fn(&str) -> bool) -> String {
        let started = Instant::now();
        loop {
            let screen = self.screen();
            if holds(&screen) {
                return screen;
            }
            assert!(started.elapsed() < PATIENCE, "waited for {what}:\n{screen}");
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    pub(crate) fn resize(&self, rows: u16, columns: u16) {
        self.pty.resize(Size::new(rows, columns)).unwrap();
        let mut seen = self.seen.lock().unwrap();
        seen.screen.screen_mut().set_size(rows, columns);
    }

    pub(crate) fn process_id(&self) -> u32 {
        self.process.id()
    }

    /// Waits until the program has ended.
    pub(crate) fn wait(mut self) -> ExitStatus {
        let started = Instant::now();
        loop {
            if let Some(status) = self.process.try_wait().unwrap() {
                return status;
            }
            if started.elapsed() > PATIENCE {
                self.process.kill().unwrap();
                panic!("it does not end:\n{}", self.screen());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Types `\q` and asserts that the program ends with success.
    pub(crate) fn quit(self) {
        self.send(&format!("\\q{ENTER}"));
        assert!(self.wait().success());
    }
}
