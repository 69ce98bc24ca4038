//! Every recipe of the cookbook in `docs/policies.md` prints what the page shows, on a cluster of its own. If
//! `D8_UPDATE_COOKBOOK` is set, the output is written into the page instead; times and spans of time may differ.

use std::path::Path;
use std::process::Command;

use d8_crds::records::policy::WaveState;
use d8_tests::catalog::Plugin;
use d8_tests::command::run_merged;
use d8_tests::page::{self, Substitutions};
use d8_tests::status::wave;
use d8_tests::{ADMIN, Lab, Result, Workstation, tools};
use jiff::{SignedDuration, Timestamp, ToSpan as _, Zoned, civil::DateTime, tz::TimeZone};
use regex_lite::Regex;
use serde_json::json;

const PAGE: &str = "docs/policies.md";
/// When the times in the recipes are taken to be written: a Saturday.
const WRITTEN: &str = "2026-11-28T12:00:00Z";
/// When the page says that the wave was halted.
const HALTED: &str = "2026-11-28T11:00:00Z";

/// The hosts that fail with v1.3.0 before the recipe about a halted wave.
const FAILING: [&str; 2] = ["bastion-1", "bastion-2"];

/// A recipe of the page.
struct Recipe<'a> {
    headline: &'a str,
    /// The text below the headline.
    text: &'a str,
}

impl<'a> Recipe<'a> {
    /// Returns the blocks that begin with this line, without it.
    fn block(&self, fence: &str) -> Option<&'a str> {
        let rest = self.text.split_once(fence)?.1;
        rest.split_once("\n```").map(|(block, _)| block)
    }
}

/// Moves the times of a recipe from the day of the page to today, so that what was to come then is to come now.
struct Today {
    days: i32,
    weekday: String,
}

impl Today {
    fn new(now: &Zoned) -> Self {
        let written: Timestamp = WRITTEN.parse().unwrap_or_else(|error| panic!("{error}"));
        let days = now.timestamp().duration_since(written).as_hours() / 24;
        // The window of the recipe is closed, whatever day it is, and opens after minAge is over.
        let weekday = now.checked_add(5.days()).unwrap_or_else(|error| panic!("{error}")).strftime("%a").to_string();
        Self { days: i32::try_from(days).unwrap_or_default(), weekday }
    }

    fn recipe(&self, text: &str) -> String {
        let times = Regex::new(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?").unwrap_or_else(|error| panic!("{error}"));
        let text = times.replace_all(text, |found: &regex_lite::Captures<'_>| {
            let time: DateTime = found[0].parse().unwrap_or_else(|error| panic!("{error}"));
            let moved = time.checked_add(self.days.days()).unwrap_or_else(|error| panic!("{error}")).to_string();
            moved[..found[0].len()].to_owned()
        });
        text.replace("[Thu]", &format!("[{}]", self.weekday))
    }
}

/// Replaces what depends on the moment: times, spans of time, and the widths of columns.
fn timeless(text: &str) -> String {
    let mut text = text.to_owned();
    for (pattern, name) in [
        (r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?Z?", "TIME"),
        (r"\b\d+(d|h|m|s)([ ]?\d+(h|m|s))*\b", "SPAN"),
        (r"[ \t]+", " "),
        (r" ?\n ?", "\n"),
    ] {
        let pattern = Regex::new(pattern).unwrap_or_else(|error| panic!("{error}"));
        text = pattern.replace_all(&text, name.replace("\\n", "\n").as_str()).into_owned();
    }
    text.trim().to_owned()
}

/// Returns the introduction of the cookbook and its recipes.
fn recipes(page: &str) -> Vec<Recipe<'_>> {
    let section = page.split_once("\n## Cookbook\n").unwrap_or_else(|| panic!("no cookbook")).1;
    let section = section.split_once("\n## ").map_or(section, |(section, _)| section);
    let recipes = section.split("\n### ").map(|text| {
        let (headline, text) = text.split_once('\n').unwrap_or((text, ""));
        Recipe { headline, text }
    });
    recipes.collect()
}

/// The cluster that the page describes, with its base policy.
fn start(base: &str) -> Result<Lab> {
    let lab = Lab::start(|_| {})?;
    let hours = SignedDuration::from_hours;
    for (name, version, age) in [
        ("delivery", "v1.2.6", hours(30 * 24)),
        ("delivery", "v1.3.0", hours(10 * 24)),
        ("delivery", "v1.3.1", hours(1)),
        ("audit", "v1.0.0", hours(30 * 24)),
    ] {
        lab.publish(&Plugin::new(name, version).with_age(age))?;
    }
    lab.create_releases(&["delivery", "audit"])?;
    lab.wait_for_version("delivery", "v1.3.1")?;
    lab.wait_for_version("audit", "v1.0.0")?;
    let hosts = (1..=12).map(|i| (format!("bastion-{i}"), "bastion")).chain([("builder-1".to_owned(), "builder")]);
    for (name, role) in hosts {
        report(&lab, &name, role, "v1.2.6", "UpToDate")?;
    }
    lab.allow_download(&lab.plane().contractor().user)?;
    lab.plane().apply(base)?;
    lab.wait_for_accepted("standard")?;
    Ok(lab)
}

fn report(lab: &Lab, host: &str, role: &str, version: &str, state: &str) -> Result<()> {
    let component = json!({"name": "delivery", "active": "v1.2.6", "target": version, "state": state});
    lab.apply_host(host, role, &json!({"platform": "linux-amd64", "components": [component]}))
}

/// Two hosts fail with v1.3.0. Returns when the operator halted the wave.
fn halt(lab: &Lab) -> Result<Timestamp> {
    for host in FAILING {
        report(lab, host, "bastion", "v1.3.0", "Failed")?;
    }
    let halted = |policy: &_| wave(policy, "delivery", "v1.3.0").filter(|wave| wave.state == Some(WaveState::Halted));
    let policy = lab.wait_for_policy("careful", "its wave is halted", |policy| halted(policy).is_some())?;
    let at = halted(&policy).and_then(|wave| wave.halted_at);
    Ok(at.unwrap_or_else(|| panic!("it says when")).0)
}

/// The hosts that failed work again, and the operator has seen it: it does not halt the wave once more.
fn mend(lab: &Lab) -> Result<()> {
    for host in FAILING {
        report(lab, host, "bastion", "v1.2.6", "UpToDate")?;
    }
    let failed = |policy: &_| wave(policy, "delivery", "v1.3.0").map_or(0, |wave| wave.failed);
    lab.wait_for_policy("careful", "no host fails", |policy| failed(policy) == 0).map(drop)
}

/// Runs the commands of a recipe. Returns the block as the page should have it, with the output of this machine.
fn cook(lab: &Lab, recipe: &Recipe<'_>, today: &Today) -> Result<Option<String>> {
    let Some(block) = recipe.block("```console\n") else { return Ok(None) };
    let admin = lab.workstation(lab.plane().user(ADMIN))?;
    let alice = lab.new_workstation()?;
    let carl = lab.workstation(lab.plane().contractor())?;
    alice.d8(["plugins", "install", "delivery", "--version", "v1.2.6"])?.expect_code(0)?;
    let mut names = Substitutions::default();
    names.add(lab.plane().url(), "https://api.example:6443");
    let policy = recipe.block("```yaml recipe\n").map(|text| today.recipe(text));
    if let Some(policy) = &policy {
        std::fs::write(admin.home().join("policy.yaml"), policy).unwrap_or_else(|error| panic!("{error}"));
    }
    if recipe.headline == "A halted wave goes on" {
        lab.plane().apply(policy.as_deref().unwrap_or_default())?;
        names.add(halt(lab)?.to_string(), HALTED);
    }
    let mut cooked = Vec::new();
    for example in page::examples(&format!("```console\n{block}\n```")) {
        let user = [("admin", &admin), ("alice", &alice), ("carl", &carl)];
        let user = user.into_iter().find(|(name, _)| *name == example.user).map(|(_, user)| user);
        let user = user.unwrap_or_else(|| panic!("an unknown user in {:?}", example.line));
        if example.line.starts_with("kubectl annotate") {
            mend(lab)?;
        }
        let output = run_as(user, &names.to_machine(example.line))?;
        if example.line.starts_with("kubectl a") {
            await_operator(lab, policy.as_deref().unwrap_or_default())?;
        }
        cooked.push(format!("{}$ {}\n{}", example.user, example.line, names.to_page(output.trim())).trim().to_owned());
    }
    if policy.is_some() && recipe.headline != "What an edit would change" {
        run_as(&admin, "kubectl delete --ignore-not-found -f policy.yaml")?;
    }
    Ok(Some(cooked.join("\n\n")))
}

/// Waits until the operator has processed each policy of the file and what follows from it.
fn await_operator(lab: &Lab, policies: &str) -> Result<()> {
    let mut names = policies.lines().filter_map(|line| line.strip_prefix("metadata: {name: ")?.strip_suffix('}'));
    names.try_for_each(|name| lab.wait_for_accepted(name).map(drop))
}

fn run_as(user: &Workstation, line: &str) -> Result<String> {
    let directories =
        [tools::binary("d8")?.parent().map(Path::to_owned), Some(tools::Tools::get()?.directory().into())];
    let directories = directories.into_iter().flatten().chain(["/usr/bin".into(), "/bin".into()]);
    let path = std::env::join_paths(directories).unwrap_or_default();
    let output = run_merged("bash", ["-c", line], |command: &mut Command| {
        user.environment(command);
        command.env("PATH", &path);
    })?;
    Ok(output.stdout)
}

#[test]
fn every_recipe_prints_what_the_page_shows() -> Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(PAGE);
    let page = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{error}"));
    let recipes = recipes(&page);
    let base = recipes.first().and_then(|intro| intro.block("```yaml base\n")).unwrap_or_else(|| panic!("no base"));
    let lab = start(base)?;
    let today = Today::new(&Timestamp::now().to_zoned(TimeZone::UTC));
    let (mut updated, mut differences) = (page.clone(), Vec::new());
    for recipe in &recipes {
        let Some(found) = cook(&lab, recipe, &today)? else { continue };
        let shown = recipe.block("```console\n").unwrap_or_default();
        if timeless(shown) != timeless(&found) {
            differences.push(format!("### {}\n{found}\nis not\n{shown}", recipe.headline));
        }
        let cooked = recipe.text.replace(&format!("```console\n{shown}\n```"), &format!("```console\n{found}\n```"));
        updated = updated.replacen(recipe.text, &cooked, 1);
    }
    if std::env::var_os("D8_UPDATE_COOKBOOK").is_some() {
        std::fs::write(&path, updated).unwrap_or_else(|error| panic!("{error}"));
        return Ok(());
    }
    assert!(recipes.len() == 15, "{} recipes and the introduction", recipes.len());
    assert!(differences.is_empty(), "{}", differences.join("\n\n"));
    Ok(())
}
