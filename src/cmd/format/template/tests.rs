use super::*;
use serde_json::json;

fn inspect(source: &str, data: &serde_json::Value) -> Result<String, TemplateError> {
    Template::parse(source, Functions::Values)?.render(&Data::new(data, Names::Json, false))
}

fn container() -> serde_json::Value {
    json!({
        "Id": "abc", "Args": ["-c", "x y"], "State": {"Status": "running", "Running": true, "Pid": 12345678901_u64, "Rate": 0.5},
        "Config": {"Labels": {"z": "1", "a": "<&>"}, "Env": ["A=1", "B=2"], "Volumes": null, "Entrypoint": null},
        "HostConfig": {"PidsLimit": null, "Binds": null, "Memory": 1000000000},
        "NetworkSettings": {"Ports": {"80/tcp": [{"HostIp": "0.0.0.0", "HostPort": "8080"}], "81/tcp": null}},
        "Mounts": [{"Source": "/s", "Destination": "/d"}]
    })
}

#[test]
fn values_render_as_in_go() {
    for (source, expected) in [
        ("{{.Id}}", "abc"),
        ("{{.State.Running}} {{.State.Pid}} {{.HostConfig.Memory}} {{.State.Rate}}", "true 12345678901 1000000000 0.5"),
        ("{{.Args}}", "[-c x y]"),
        ("{{.Config.Labels}}", "map[a:<&> z:1]"),
        ("{{json .Config.Labels}}", r#"{"z":"1","a":"<&>"}"#),
        (
            "{{json .Config.Volumes}} {{.Config.Volumes}} {{json .HostConfig.Binds}} {{.HostConfig.Binds}}",
            "null map[] null []",
        ),
        ("{{.HostConfig.PidsLimit}}", "<nil>"),
        ("{{.Config.Labels.nope}}", "<no value>"),
        ("[{{index .Config.Labels \"nope\"}}]", "[]"),
        ("{{(index (index .NetworkSettings.Ports \"80/tcp\") 0).HostPort}}", "8080"),
        (
            "{{range $p, $c := .NetworkSettings.Ports}}{{$p}}={{$c}};{{end}}",
            "80/tcp=[map[HostIp:0.0.0.0 HostPort:8080]];81/tcp=[];",
        ),
        ("{{range .Mounts}}{{.Source}}:{{.Destination}}{{else}}none{{end}}", "/s:/d"),
        ("{{range .Config.Env}}{{println .}}{{end}}", "A=1\nB=2\n"),
        ("{{with .State}}{{.Status}}{{end}}", "running"),
        ("{{if .State.Health}}{{.State.Health.Status}}{{else}}none{{end}}", "none"),
        ("{{$s := .State}}{{$s.Status}}", "running"),
        ("{{join .Args \", \"}}|{{join .Config.Labels \",\"}}", "-c, x y|1,<&>"),
        (
            "{{.State}} {{.SizeRw}} [{{.Config.StopSignal}}]",
            "map[Pid:12345678901 Rate:0.5 Running:true Status:running] <nil> []",
        ),
        ("{{split \"a:b\" \":\"}} {{index (split \"a:b\" \":\") 1}}", "[a b] b"),
        ("{{lower \"AbC\"}} {{upper \"aé\"}} {{title \"two words\"}}", "abc AÉ Two Words"),
        ("[{{pad \"x\" 1 2}}][{{pad \"\" 1 2}}]", "[ x  ][]"),
        ("{{truncate .Id 2}} {{truncate .Id 9}} {{.Id | upper | printf \"%-5s|\"}}", "ab abc ABC  |"),
        ("{{- /* comment */ -}} {{eq .State.Status \"exited\" \"running\"}}", "true"),
        ("{{define \"s\"}}<{{.Status}}>{{end}}{{template \"s\" .State}}", "<running>"),
        ("{{len .Args}} {{and .Id 0}} {{or \"\" \"x\"}} {{not true}}", "2 0 x false"),
        ("{{html \"<a>\"}} {{urlquery \"a b\"}}", "&lt;a&gt; a+b"),
        ("{{printf \"%s %d %q %v\" .Id 5 \"x\" .Args}}", "abc 5 \"x\" [-c x y]"),
        ("{{range $i, $e := .Args}}{{if $i}},{{end}}{{$e}}{{end}}", "-c,x y"),
        ("{{range .Args}}{{if eq . \"-c\"}}{{continue}}{{end}}{{.}}{{break}}{{end}}", "x y"),
    ] {
        assert_eq!(inspect(source, &container()).as_deref(), Ok(expected), "{source}");
    }
    assert_eq!(inspect("{{json .}}", &container()).unwrap(), container().to_string());
}

#[test]
fn unknown_names_are_reported_with_their_place() {
    for (source, expected) in [
        ("{{.Nope}}", "template: :1:2: executing \"\" at <.Nope>: map has no entry for key \"Nope\""),
        ("x{{.State.Nope}}", "template: :1:9: executing \"\" at <.State.Nope>: map has no entry for key \"Nope\""),
        (
            "{{.State.Health.Status}}",
            "template: :1:8: executing \"\" at <.State.Health.Status>: map has no entry for key \"Health\"",
        ),
        ("a\n {{json .Nope}}", "template: :2:8: executing \"\" at <.Nope>: map has no entry for key \"Nope\""),
        (
            "{{$s := .State}}{{$s.Nope}}",
            "template: :1:20: executing \"\" at <$s.Nope>: map has no entry for key \"Nope\"",
        ),
        (
            "{{(index .Mounts 0).Nope}}",
            "template: :1:19: executing \"\" at <(index .Mounts 0).Nope>: map has no entry for key \"Nope\"",
        ),
        ("{{.Id.Nope}}", "template: :1:5: executing \"\" at <.Id.Nope>: can't evaluate field Nope in type string"),
        (
            "{{.HostConfig.PidsLimit.X}}",
            "template: :1:13: executing \"\" at <.HostConfig.PidsLimit.X>: nil pointer evaluating interface {}.X",
        ),
        ("{{.Id 1}}", "template: :1:2: executing \"\" at <.Id>: Id is not a method but has arguments"),
    ] {
        assert_eq!(inspect(source, &container()), Err(TemplateError::Execute(expected.to_owned())), "{source}");
    }
}

#[test]
fn mistakes_are_found_while_parsing() {
    for (source, expected) in [
        ("{{.Id", "template: :1: unclosed action"),
        ("{{nope .Id}}", "template: :1: function \"nope\" not defined"),
        ("{{/* x", "template: :1: unclosed comment"),
        ("{{if .Id}}", "template: :1: unexpected EOF"),
        ("{{end}}", "template: :1: unexpected {{end}}"),
    ] {
        let error = Template::parse(source, Functions::Values).err();
        assert_eq!(error, Some(TemplateError::Parse(expected.to_owned())), "{source}");
    }
    assert!(Template::parse(&"x".repeat(MAX_SOURCE + 1), Functions::Values).is_err());
}

#[test]
fn rows_have_methods_and_go_types() {
    let shown =
        serde_json::Map::from_iter([("Ports".to_owned(), json!("80->81")), ("Names".to_owned(), json!("a\u{1b}b"))]);
    let labels = std::collections::BTreeMap::from([("com.x.app".to_owned(), "web".to_owned())]);
    let row = Data::row(&shown, &[("HealthStatus", "ok")], Some(&labels), "*formatter.ContainerContext", true);
    let render = |source: &str| Template::parse(source, Functions::Values).and_then(|template| template.render(&row));
    assert_eq!(render("{{.Names}} {{.HealthStatus}}").unwrap(), "a\\x1bb ok");
    assert_eq!(render("{{.Label \"com.x.app\"}}{{.Label \"none\"}}{{\"com.x.app\" | .Label}}").unwrap(), "webweb");
    assert_eq!(render("{{if eq (.Label \"com.x.app\") \"web\"}}yes{{end}}").unwrap(), "yes");
    assert_eq!(render("{{json .}}").unwrap(), r#"{"Ports":"80-\u003e81","Names":"a\\x1bb"}"#);
    assert_eq!(render("{{json .Ports}}").unwrap(), r#""80->81""#);
    assert_eq!(
        render("{{.Nope}}").unwrap_err().to_string(),
        "template: :1:2: executing \"\" at <.Nope>: can't evaluate field Nope in type *formatter.ContainerContext"
    );
}

#[test]
fn headers_keep_their_titles() {
    let header = Data::header(&[("ID", "CONTAINER ID"), ("Names", "NAMES")]);
    let template =
        Template::parse("{{.ID}}|{{lower .Names}}|{{.Label \"com.x.app-name\"}}|{{.Nope}}", Functions::Headers)
            .unwrap();
    assert_eq!(template.render(&header).unwrap(), "CONTAINER ID|NAMES|app name|<no value>");
}

#[test]
fn runaway_templates_end() {
    let double = (0..60).fold(String::from("{{define \"t0\"}}{{end}}"), |all, n| {
        format!("{all}{{{{define \"t{}\"}}}}{{{{template \"t{n}\"}}}}{{{{template \"t{n}\"}}}}{{{{end}}}}", n + 1)
    });
    for source in [
        "{{define \"a\"}}{{template \"a\"}}{{end}}{{template \"a\"}}",
        "{{range 10000000000}}{{end}}",
        "{{$x := \"aaaaaaaaaaaaaaaa\"}}{{range 100}}{{$x = printf \"%s%s\" $x $x}}{{end}}",
        "{{range 1000000}}{{printf \"%60000d\" 1}}{{end}}",
        "{{pad \"x\" 100000000 100000000}}{{pad \"x\" -1 0}}",
        &format!("{double}{{{{template \"t60\"}}}}"),
    ] {
        assert!(matches!(inspect(source, &container()), Err(TemplateError::Execute(_))), "{source:.60}");
    }
}

proptest::proptest! {
    #[test]
    fn any_source_and_data_end_quietly(source in "(\\{\\{|\\}\\}|[.$|()\"a-zA-Z0-9 =:-]|range |end|if |json |index |\\PC){0,24}", text in proptest::prelude::any::<String>()) {
        let data = json!({"a": text, "b": [1, {"c": null}], "Labels": {"x": "y"}});
        if let Ok(template) = Template::parse(&source, Functions::Values) {
            let data = Data::new(&data, Names::Json, true);
            let first = template.render(&data);
            proptest::prop_assert_eq!(first, template.render(&data));
        }
    }
}
