use super::*;
use crate::store::testing::{self, TestStore};

fn print(store: &Store, args: &Args) -> Result<String> {
    let format = Format::parse(&args.template())?;
    let (images, damaged) = load(store)?;
    assert_eq!(damaged, Vec::<String>::new());
    let rows = rows(args, &format, store, &images, "2026-01-01T00:59:00Z".parse()?)?;
    let mut out = Vec::new();
    format.write(&mut out, LISTING, &rows, false)?;
    Ok(String::from_utf8(out)?)
}

fn repositories(store: &Store, filters: &[&str], reference: Option<&str>) -> Result<String> {
    let args = Args {
        filter: filters.iter().map(|filter| filter.parse()).collect::<Result<_, _>>()?,
        format: Some("{{.Repository}}:{{.Tag}}".to_owned()),
        reference: reference.map(str::to_owned),
        ..Args::default()
    };
    Ok(print(store, &args)?.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[test]
fn the_table_of_docker() {
    let store = TestStore::new();
    let digest = Digest::of(b"index");
    let image =
        testing::image(&store, &["busybox:1.29", "quay.io/a/b", &format!("busybox@{digest}")], &["base", "top"]);
    let id = image.config.short();
    assert_eq!(
        print(&store, &Args::default()).unwrap(),
        format!(
            "REPOSITORY    TAG       IMAGE ID       CREATED          SIZE\n\
             busybox       1.29      {id}   59 minutes ago   200B\n\
             quay.io/a/b   latest    {id}   59 minutes ago   200B\n"
        )
    );
    let with_digests = print(&store, &Args { digests: true, ..Args::default() }).unwrap();
    assert!(with_digests.contains(&format!("busybox       1.29      {digest}   {id}")), "{with_digests}");
    assert!(with_digests.contains("quay.io/a/b   latest    <none> "), "{with_digests}");
    assert_eq!(print(&store, &Args { quiet: true, ..Args::default() }).unwrap(), format!("{id}\n{id}\n"));
    let full = print(&store, &Args { quiet: true, no_trunc: true, ..Args::default() }).unwrap();
    assert!(full.starts_with(&image.config.to_string()));
    let json = print(&store, &Args { format: Some("json".to_owned()), ..Args::default() }).unwrap();
    assert!(json.starts_with(r#"{"Containers":"N/A","CreatedAt":"#), "{json}");
    assert_eq!(
        print(&TestStore::new(), &Args::default()).unwrap(),
        "REPOSITORY   TAG       IMAGE ID   CREATED   SIZE\n"
    );
}

#[test]
fn names_become_rows_as_in_docker() {
    let name = testing::reference;
    let (tag, other) = (name("a:1"), name("b:2"));
    let (digest, elsewhere) = (tag.at_digest(Digest::of(b"x")), name("c").at_digest(Digest::of(b"y")));
    let show = |tags: &[&ImageRef], digests: &[&ImageRef], per: bool, all: bool| -> Vec<String> {
        let lines = lines(tags, digests, per, all);
        lines
            .iter()
            .map(|l| format!("{} {} {}", l.repository, l.tag, l.digest.get(..10).unwrap_or(&l.digest)))
            .collect()
    };
    assert_eq!(show(&[], &[], false, false), ["<none> <none> <none>"]);
    assert_eq!(show(&[&tag, &other], &[&digest, &elsewhere], false, false), ["a 1 <none>", "b 2 <none>", "c <none> "]);
    let all = show(&[&tag, &other], &[&digest, &elsewhere], true, true);
    assert_eq!(all, ["a 1 sha256:2d7", "b 2 <none>", "c <none> sha256:a1f"]);
}

#[test]
fn filters_choose() {
    let store = TestStore::new();
    let used = testing::image(&store, &["busybox:1.29", "busybox:musl", "quay.io/a/b"], &["base"]);
    let id = format!("id={}", used.config.short());
    let digest = format!("digest={}", used.manifest);
    let mut config = testing::config("web", "a");
    config.root = crate::spec::config::RootSource::Image { id: used.config, layers: used.chains };
    store.containers().create(config).unwrap();
    let dangling = testing::reference("gone").at_digest(Digest::of(b"z"));
    testing::image(&store, &[&dangling.to_string()], &["other"]);
    for (filters, reference, expected) in [
        (&[][..], Some("busybox"), "busybox:1.29 busybox:musl"),
        (&[], Some("busybox:musl"), "busybox:musl"),
        (&[], Some("busy*:1*"), "busybox:1.29"),
        (&[], Some("absent"), ""),
        (&["reference=quay.io/*/b"], None, "quay.io/a/b:latest"),
        (&["dangling=true"], None, "gone:<none>"),
        (&["dangling=false", "label!=x"], Some("quay.io/*/*"), "quay.io/a/b:latest"),
        (&["label=x"], None, ""),
        (&["containers=true"], Some("quay.io/a/b"), "quay.io/a/b:latest"),
        (&["containers=false"], None, "gone:<none>"),
        (&[&id], Some("busybox:musl"), "busybox:musl"),
        (&["id=sha256:0"], Some("busybox"), ""),
        (&[&digest], Some("busybox:musl"), "busybox:musl"),
        (&["readonly=true"], None, ""),
        (&["intermediate=false", "manifest=false"], Some("busybox:musl"), "busybox:musl"),
        (&["since=busybox:musl"], None, ""),
        (&["until=2025-12-31T00:00:00Z"], None, ""),
        (&["until=2026-01-01T00:00:01Z", "dangling=true"], None, "gone:<none>"),
    ] {
        assert_eq!(repositories(&store, filters, reference).unwrap(), expected, "{filters:?} {reference:?}");
    }
    for (filter, expected) in [
        (
            "bogus=1",
            "invalid filter 'bogus': use one of after, before, containers, dangling, digest, id, intermediate, label, \
             label!, manifest, readonly, reference, since, until",
        ),
        ("dangling=maybe", "invalid filter 'dangling=maybe'"),
        ("before=absent", "No such image: absent:latest"),
    ] {
        assert_eq!(repositories(&store, &[filter], None).unwrap_err().to_string(), expected);
    }
}
