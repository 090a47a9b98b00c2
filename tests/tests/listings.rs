//! Every listing: as a table, wide, as JSON and YAML, by a template, filtered, and as bare ids.

use netmode_tests::Lab;

/// A listing with something in it.
struct Case {
    command: &'static [&'static str],
    /// A heading of the table, one that only `-o wide` has, and a template with the line that it must print.
    heading: &'static str,
    wide: Option<&'static str>,
    template: (&'static str, &'static str),
    /// A filter that some rows fit, one that none fits.
    fits: &'static str,
    not: &'static str,
    /// A key of each row as data.
    key: &'static str,
}

const CASES: [Case; 5] = [
    Case {
        command: &["ps"],
        heading: "NAME",
        wide: Some("ADDRESS"),
        template: ("{{.Name}} {{.Mode}} {{.Labels}}", "web bridge tier=front"),
        fits: "label=tier=front",
        not: "label=tier=back",
        key: "networkMode",
    },
    Case {
        command: &["port", "ls"],
        heading: "OWNER",
        wide: None,
        template: ("{{.Owner}} {{.Container}} {{.Protocol}}", "web 80/tcp tcp"),
        fits: "owner=web",
        not: "owner=nobody",
        key: "hostPort",
    },
    Case {
        command: &["network", "ls"],
        heading: "BRIDGE",
        wide: Some("INTERNAL"),
        template: (
            "{{.Name}} {{.Driver}} {{.Scope}} {{.Internal}} {{.IPv6}} {{.Labels}}",
            "inner bridge local true true team=blue",
        ),
        fits: "type=custom",
        not: "label=team=red",
        key: "bridge",
    },
    Case {
        command: &["images"],
        heading: "REPOSITORY",
        wide: Some("PLATFORM"),
        template: ("{{.Repository}}:{{.Tag}} {{.Digest}}", "<none>:<none> <none>"),
        fits: "dangling=true",
        not: "dangling=false",
        key: "repoTags",
    },
    Case {
        command: &["doctor"],
        heading: "OBJECT",
        wide: None,
        template: ("{{.Object}} {{.Level}}", "forwarding ok"),
        fits: "level=ok",
        not: "object=nothing",
        key: "object",
    },
];

fn lab() -> Lab {
    let make = "cd /srv && umoci init --layout l && umoci new --image l:web && mkdir -p /tmp/r/bin && \
                cp /bin/busybox /tmp/r/bin && umoci insert --image l:web /tmp/r /";
    let lab = Lab::with().first(make).start();
    lab.netmode(&["network", "create", "--internal", "--ipv6", "--label", "team=blue", "inner"]).success();
    let image = ["oci:/srv/l:web", "/bin/busybox", "sleep", "1000"];
    lab.netmode(&[&["run", "-d", "--name", "web", "--label", "tier=front", "-p", "8080:80"], &image[..]].concat())
        .success();
    lab
}

#[test]
fn every_listing_has_every_form() {
    let lab = lab();
    for Case { command, heading, wide, template, fits, not, key } in &CASES {
        let with = |more: &[&str]| lab.netmode(&[command, more].concat());
        let what = command.join(" ");
        let table = with(&[]).stdout;
        let headings = |table: &str| -> Vec<String> {
            table.lines().next().unwrap_or_default().split("  ").map(|h| h.trim().to_owned()).collect()
        };
        assert!(headings(&table).contains(&(*heading).to_string()), "{what}: {table}");
        if let Some(wide) = wide {
            assert!(!headings(&table).contains(&(*wide).to_string()), "{what}: {table}");
            let more = with(&["-o", "wide"]).stdout;
            assert!(headings(&more).contains(&(*wide).to_string()), "{what}: {more}");
        }

        let data = with(&["-o", "json"]).json();
        let rows = data.as_array().unwrap_or_else(|| panic!("{what}: {data}"));
        assert!(!rows.is_empty() && rows.iter().all(|row| row.get(key).is_some()), "{what}: {data}");
        let yaml = with(&["-o", "yaml"]).stdout;
        assert!(yaml.starts_with("- ") && yaml.contains(&format!("{key}:")), "{what}: {yaml}");

        let (template, line) = template;
        let lines = with(&["--format", template]).stdout;
        assert!(lines.lines().any(|l| l == *line), "{what} {template}: {lines}");
        let each = with(&["--format", "json"]).stdout;
        let parsed = each.lines().filter(|l| serde_json::from_str::<serde_json::Value>(l).is_ok()).count();
        assert_eq!(parsed, lines.lines().count(), "{what}: a line of JSON for each row: {each}");

        // A filter narrows, and does not change what a row looks like.
        let some = with(&["-o", "json", "--filter", fits]).json();
        let some = some.as_array().unwrap_or_else(|| panic!("{what} {fits}: {some}"));
        assert!(!some.is_empty() && some.iter().all(|row| rows.contains(row)), "{what} {fits}: {some:?}");
        assert_eq!(with(&["-o", "json", "--filter", not]).json(), serde_json::json!([]), "{what} {not}");

        with(&["--filter", "no=thing"]).refused(1, &["--filter", "no=thing", "the keys are"]);
        with(&["--format", "{{.Nothing}}"]).refused(1, &["--format", "Nothing"]);
        with(&["-q", "--format", "json"]).refused(1, &["--format", "-q", "exclude"]);
    }
}

#[test]
fn quiet_listings_print_what_commands_take() {
    let lab = lab();
    let one = |args: &[&str]| -> String {
        let out = lab.netmode(args).success().stdout;
        assert_eq!(out.lines().count(), 1, "{args:?}: {out}");
        out.trim().to_owned()
    };
    assert_eq!(lab.inspect(&one(&["ps", "-q"]))["name"], "web");
    let inner = one(&["network", "ls", "-q", "--filter", "name=inner"]);
    assert_eq!(lab.json(&["network", "inspect", &inner])[0]["Name"], "inner");
    lab.netmode(&["rm", "-f", "web"]).success();
    lab.netmode(&["rmi", &one(&["images", "-q"])]).success();
    assert_eq!(lab.netmode(&["images", "-q"]).success().stdout, "");
}
