//! The command-line store: its line form both ways, its exit codes, and that every line it acknowledged survives SIGKILL.
//! No test harness: called with `--kvstore` first, this binary is the command itself.

#[path = "../examples/kvstore.rs"]
#[allow(dead_code)]
mod kvstore;

use kvstore::lines::{self, BadLine};
use quickcheck::QuickCheck;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Output, Stdio};

fn main() -> ExitCode {
    let args: Vec<_> = std::env::args_os().collect();
    if args.get(1).is_some_and(|arg| arg == "--kvstore") {
        return kvstore::with_args([&args[..1], &args[2..]].concat());
    }
    let tests: [(&str, fn()); 8] = [
        ("lines_round_trip", lines_round_trip),
        ("lines_refuse_what_they_do_not_know", lines_refuse_what_they_do_not_know),
        ("put_get_del", put_get_del),
        ("wrong_use_is_told", wrong_use_is_told),
        ("walks", walks),
        ("import_equals_export", import_equals_export),
        ("import_stops_at_a_bad_line", import_stops_at_a_bad_line),
        ("import_survives_sigkill", import_survives_sigkill),
    ];
    let filters: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with('-')).collect();
    if args.iter().any(|arg| arg == "--list") {
        tests.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    for (name, test) in tests {
        if filters.iter().all(|filter| name.contains(filter.as_str())) {
            // A failed assertion ends the process with its message and a code other than 0.
            test();
            println!("test {name} ... ok");
        }
    }
    ExitCode::SUCCESS
}

// ---- lines ---------------------------------------------------------------------------------------------------------

fn lines_round_trip() {
    fn both_ways(key: Vec<u8>, value: Vec<u8>) -> bool {
        // Bytes that need an escape are rare in random ones: fold some of them in.
        let fold = |bytes: Vec<u8>| -> Vec<u8> {
            bytes.into_iter().map(|b| if b < 64 { b"\t\n\r\\tnr"[usize::from(b) % 7] } else { b }).collect()
        };
        let (key, value) = (fold(key), fold(value));
        let (mut line, mut k, mut v) = (Vec::new(), vec![1], vec![2]);
        lines::format(&key, &value, &mut line);
        let one_line = line.pop() == Some(b'\n') && !line.contains(&b'\n') && !line.contains(&b'\r');
        one_line && lines::parse(&line, &mut k, &mut v) == Ok(()) && k == key && v == value
    }
    QuickCheck::new().tests(2000).quickcheck(both_ways as fn(Vec<u8>, Vec<u8>) -> bool);
}

fn lines_refuse_what_they_do_not_know() {
    let parse = |line: &[u8]| {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        lines::parse(line, &mut key, &mut value).map(|()| (key, value))
    };
    let pair = |key: &[u8], value: &[u8]| Ok((key.to_vec(), value.to_vec()));
    assert_eq!(parse(b""), Err(BadLine::NoTab));
    assert_eq!(parse(b"key value"), Err(BadLine::NoTab));
    assert_eq!(parse(b"\t"), pair(b"", b""));
    assert_eq!(parse(b"a\tb\tc"), pair(b"a", b"b\tc"));
    assert_eq!(parse(b"a\\tb\tc\\\\\\n\\r"), pair(b"a\tb", b"c\\\n\r"));
    assert_eq!(parse(b"a\\x\tb"), Err(BadLine::UnknownEscape(b'x')));
    assert_eq!(parse(b"a\\\tb"), Err(BadLine::LoneBackslash));
    assert_eq!(parse(b"a\tb\\"), Err(BadLine::LoneBackslash));
    assert_eq!(parse(b"\xff\0\tb\r"), pair(b"\xff\0", b"b\r"));
}

// ---- the command ---------------------------------------------------------------------------------------------------

fn command(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this binary"));
    command.arg("--kvstore").arg("--data-dir").arg(dir).args(["--memory", "16MiB"]).args(args);
    command
}

fn run_with(dir: &Path, args: &[&str], input: &[u8]) -> Output {
    let mut command = command(dir, args);
    let command = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("spawn");
    let mut stdin = child.stdin.take().expect("standard input");
    std::thread::scope(|scope| {
        // The child may end before it has read everything; then nobody wants the rest.
        scope.spawn(move || drop(stdin.write_all(input)));
        child.wait_with_output().expect("wait")
    })
}

#[track_caller]
fn expect(output: &Output, code: i32, stdout: impl AsRef<[u8]>, stderr: &str) {
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "stderr: {said}");
    assert_eq!(String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(stdout.as_ref()));
    assert!(said.contains(stderr), "stderr is {said:?}, without {stderr:?}");
}

fn put_get_del() {
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path().join("s");
    let run = |args: &[&str]| run_with(&dir, args, b"");
    expect(&run(&["get", "hello"]), 1, "", "no store at");
    assert!(!dir.exists(), "a command that reads made a directory");
    expect(&run(&["put", "hello", "world"]), 0, "", "");
    expect(&run(&["get", "hello"]), 0, "world\n", "");
    expect(&run(&["get", "--raw", "hello"]), 0, "world", "");
    expect(&run(&["get", "goodbye"]), 1, "", "no such key: goodbye");
    expect(&run(&["get", "hello", "--tree", "other"]), 1, "", "no such key: hello");
    expect(&run(&["put", "--relaxed", "hello", "you"]), 0, "", "");
    expect(&run(&["get", "hello"]), 0, "you\n", "");
    expect(&run(&["del", "hello"]), 0, "", "");
    expect(&run(&["del", "hello"]), 1, "", "no such key: hello");
    expect(&run_with(&dir, &["put", "piped"], b"a\0b\n"), 0, "", "");
    expect(&run(&["get", "--raw", "piped"]), 0, "a\0b\n", "");
    for maintenance in ["sync", "checkpoint", "stats", "check"] {
        assert_eq!(run(&[maintenance]).status.code(), Some(0), "{maintenance}");
    }
}

fn wrong_use_is_told() {
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path().join("s");
    let run = |args: &[&str]| run_with(&dir, args, b"");
    for wrong in [&["frobnicate"][..], &["get"], &["put"], &["get", "a", "b"], &["put", "a", "b", "--page-size", "4X"]]
    {
        assert_eq!(run(wrong).status.code(), Some(2), "{wrong:?}");
    }
    expect(&run(&["put", "a", "b", "--page-size", "5000"]), 2, "", "page_size");
    expect(&run(&["put", "a", "b", "--memory", "1"]), 2, "", "a");
    expect(&run(&["put", "a", "b", "--page-size", "4K"]), 0, "", "");
    expect(&run(&["put", "a", "b", "--page-size", "16KiB"]), 2, "", "page_size");
    expect(&run(&["put", &"k".repeat(100_000), "b"]), 2, "", "key of 100000 bytes");
    let file = scratch.path().join("file");
    std::fs::write(&file, "not a store").expect("a file");
    let output = run_with(&file, &["put", "a", "b"], b"");
    assert_eq!(output.status.code(), Some(1), "{}", String::from_utf8_lossy(&output.stderr));
    expect(&run(&["import", "/does/not/exist"]), 1, "", "/does/not/exist");
}

fn walks() {
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path().join("s");
    let run = |args: &[&str]| run_with(&dir, args, b"");
    expect(&run_with(&dir, &["import"], b"b\t2\na\t1\nab\t3\nc\\n\tx\\ty\n"), 0, "durable 4\n", "4 lines");
    expect(&run(&["scan"]), 0, "a\t1\nab\t3\nb\t2\nc\\n\tx\\ty\n", "");
    expect(&run(&["scan", "--limit", "2", "--reverse"]), 0, "c\\n\tx\\ty\nb\t2\n", "");
    expect(&run(&["range", "ab", "c"]), 0, "ab\t3\nb\t2\n", "");
    expect(&run(&["range", "b"]), 0, "b\t2\nc\\n\tx\\ty\n", "");
    expect(&run(&["prefix", "a"]), 0, "a\t1\nab\t3\n", "");
    expect(&run(&["prefix", "a", "--reverse", "--limit", "1"]), 0, "ab\t3\n", "");
    expect(&run(&["prefix", "zz"]), 0, "", "");
    expect(&run(&["scan", "--tree", "other"]), 0, "", "");
}

/// Lines with repeated keys and every byte that needs an escape, and what must come out of them.
fn sample(lines: u32) -> (Vec<u8>, Vec<u8>) {
    let (mut input, mut last, mut line) = (Vec::new(), BTreeMap::new(), Vec::new());
    for n in 0..lines {
        let key = format!("{:x}\t{}\\", n.wrapping_mul(0x9e37_79b1) % (lines / 2 + 1), n % 3).into_bytes();
        let value = format!("line {n}\r\n{}", "v".repeat(n as usize % 90)).into_bytes();
        lines::format(&key, &value, &mut line);
        input.extend_from_slice(&line);
        last.insert(key, value);
    }
    let mut expected = Vec::new();
    for (key, value) in last {
        lines::format(&key, &value, &mut line);
        expected.extend_from_slice(&line);
    }
    (input, expected)
}

fn import_equals_export() {
    let scratch = tempfile::tempdir().expect("a directory");
    let (dir, copy) = (scratch.path().join("s"), scratch.path().join("copy"));
    let (input, expected) = sample(20_000);
    let output = run_with(&dir, &["import", "-"], &input);
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(output.stdout.ends_with(b"durable 20000\n"));
    let exported = run_with(&dir, &["export"], b"");
    assert!(exported.stdout == expected, "the export is not the input sorted, the last line of a key winning");
    // Through files, the last newline missing, and once more: the same store.
    let (file, again) = (scratch.path().join("x.tsv"), scratch.path().join("y.tsv"));
    std::fs::write(&file, expected.strip_suffix(b"\n").expect("lines end")).expect("a file");
    let imported = run_with(&copy, &["import", &file.display().to_string()], b"");
    assert_eq!(imported.status.code(), Some(0));
    expect(&run_with(&copy, &["export", &again.display().to_string()], b""), 0, "", "");
    assert!(std::fs::read(&again).expect("the export") == expected);
    // A reader that goes away is not an error.
    let mut child = command(&dir, &["export"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("spawn");
    let mut some = [0; 100];
    child.stdout.take().expect("standard output").read_exact(&mut some).expect("some lines");
    let output = child.wait_with_output().expect("wait");
    expect(&output, 0, "", "");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
}

fn import_stops_at_a_bad_line() {
    let scratch = tempfile::tempdir().expect("a directory");
    let dir = scratch.path().join("s");
    let cases: [(&[u8], &str); 4] = [
        (b"a\t1\nb\t2\nno tab here\nc\t3\n", "line 3: no tab between key and value (2 lines before it"),
        (b"a\t1\nb\t2\n\n", "line 3: no tab"),
        (b"a\t1\nb\t2\nc\\q\t3\n", "line 3: unknown escape \\q"),
        (b"a\t1\nb\t2\nc\t3\\", "line 3: a backslash with nothing after it"),
    ];
    for (input, says) in cases {
        expect(&run_with(&dir, &["import"], input), 2, "durable 2\n", says);
        expect(&run_with(&dir, &["scan"], b""), 0, "a\t1\nb\t2\n", "");
    }
    let long = [b"a\t1\nb\t2\n".as_slice(), &[b'k'; 100_000], b"\t3\n"].concat();
    expect(&run_with(&dir, &["import"], &long), 2, "durable 2\n", "line 3: key of 100000 bytes");
    expect(&run_with(&dir, &["import"], b""), 0, "durable 0\n", "");
}

fn import_survives_sigkill() {
    let (input, _) = sample(200_000);
    let lines: Vec<&[u8]> = input.split_inclusive(|b| *b == b'\n').collect();
    for wanted in [1, 3000, 30_000] {
        let scratch = tempfile::tempdir().expect("a directory");
        let dir = scratch.path().join("s");
        let mut command = command(&dir, &["import", "--page-size", "4K", "--memory", "4MiB"]);
        let mut child =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("spawn");
        let mut stdin = child.stdin.take().expect("standard input");
        let mut said = BufReader::new(child.stdout.take().expect("standard output"));
        let acknowledged = std::thread::scope(|scope| {
            scope.spawn(|| drop(stdin.write_all(&input)));
            let (mut line, mut last) = (String::new(), 0);
            while last < wanted && said.read_line(&mut line).expect("an acknowledgement") > 0 {
                last = count(&line);
                line.clear();
            }
            child.kill().expect("kill");
            // What it said before it died counts as well.
            while said.read_line(&mut line).expect("an acknowledgement") > 0 && line.ends_with('\n') {
                last = count(&line);
                line.clear();
            }
            last
        });
        child.wait().expect("wait");
        assert!(acknowledged >= wanted);
        let exported = run_with(&dir, &["export"], b"");
        assert_eq!(exported.status.code(), Some(0), "{}", String::from_utf8_lossy(&exported.stderr));
        assert_eq!(run_with(&dir, &["check"], b"").status.code(), Some(0));
        let prefix = is_prefix(&lines, &exported.stdout, acknowledged);
        println!("  {acknowledged} lines acknowledged, {prefix} recovered");
    }
}

fn count(line: &str) -> usize {
    line.trim_end().strip_prefix("durable ").and_then(|n| n.parse().ok()).expect("durable N")
}

/// How many lines of the input give exactly this export; they must contain the acknowledged ones.
fn is_prefix(lines: &[&[u8]], exported: &[u8], acknowledged: usize) -> usize {
    let split = |line: &[u8]| {
        let (mut key, mut value) = (Vec::new(), Vec::new());
        lines::parse(line.strip_suffix(b"\n").unwrap_or(line), &mut key, &mut value).expect("a line");
        (key, value)
    };
    let found: BTreeMap<Vec<u8>, Vec<u8>> = exported.split_inclusive(|b| *b == b'\n').map(split).collect();
    let mut state = BTreeMap::new();
    // How many keys differ between the state and what was found: kept up to date line by line.
    let mut differing = found.len();
    for n in 0..=lines.len() {
        if n >= acknowledged && differing == 0 {
            return n;
        }
        let Some(line) = lines.get(n) else { break };
        let (key, value) = split(line);
        let wanted = found.get(&key);
        let (old, new) = (state.get(&key) == wanted, Some(&value) == wanted);
        differing = differing + usize::from(old) - usize::from(new);
        state.insert(key, value);
    }
    panic!("no prefix of the input that contains the {acknowledged} acknowledged lines gives this store");
}
