//! What Home Assistant needs to know to show the device by itself: one retained message.

use super::report::About;
use super::topics::Topics;
use crate::config::mqtt::Mqtt as Config;
use crate::config::outputs::Part;
use serde_json::{Map, Value, json};

/// The device with its entities, in the short names of Home Assistant's device discovery.
pub fn device(config: &Config, about: &About, topics: &Topics) -> Value {
    let id = &topics.id;
    let mut entities = Map::new();
    let mut add = |key: &str, name: &str, mut fields: Value| {
        fields["name"] = json!(name);
        fields["unique_id"] = json!(format!("demeanor_{id}_{key}"));
        entities.insert(key.into(), fields);
    };
    if about.aggregate.is_some() {
        for (task, _) in about
            .tasks
            .iter()
            .filter(|_| config.publish.tells_answers())
        {
            let counts = counts(&topics.counts(task));
            add(
                &format!("{task}_answers"),
                &format!("{} answers", capitalised(task)),
                counts,
            );
        }
    } else if config.publish.tells_answers() {
        for (task, labels) in &about.tasks {
            add(
                task,
                &capitalised(task),
                answer(config, topics, task, labels),
            );
        }
        let emotion = about.tasks.iter().find(|(task, _)| task == "emotion");
        if let Some((task, labels)) = emotion {
            let template = "{{ {'event_type': value_json.label} | tojson }}";
            let heard = json!({
                "p": "event",
                "evt_typ": with_unsure(labels),
                "stat_t": topics.event(task),
                "val_tpl": template,
            });
            add("utterance", "Utterance", heard);
        }
    }
    if config.publish.tells(Part::Faces) && about.aggregate.is_none() {
        let faces = json!({
            "p": "sensor",
            "stat_cla": "measurement",
            "stat_t": topics.own("faces"),
            "val_tpl": "{{ value_json.count }}",
            "ic": "mdi:face-recognition",
        });
        add("faces", "Faces", faces);
    }
    if config.mute {
        let mute = json!({
            "p": "switch",
            "cmd_t": topics.own("mute/set"),
            "stat_t": topics.own("mute"),
            "pl_on": "ON",
            "pl_off": "OFF",
            "ic": "mdi:microphone-off",
        });
        add("mute", "Mute", mute);
        let forget = json!({ "p": "button", "cmd_t": topics.own("forget"), "ent_cat": "config" });
        add("forget", "Forget dialogue", forget);
    }
    if config.publish.tells(Part::State) {
        let flag = |class: &str, field: &str| {
            json!({
                "p": "binary_sensor",
                "dev_cla": class,
                "stat_t": topics.own("state"),
                "val_tpl": format!("{{{{ 'ON' if value_json.{field} else 'OFF' }}}}"),
            })
        };
        add("capturing", "Capturing", flag("running", "capturing"));
        let mut problem = flag("problem", "problem");
        problem["ent_cat"] = json!("diagnostic");
        add("problem", "Problem", problem);
    }
    if config.publish.tells(Part::Health) {
        let temperature = json!({
            "p": "sensor",
            "dev_cla": "temperature",
            "unit_of_meas": "°C",
            "stat_cla": "measurement",
            "ent_cat": "diagnostic",
            "stat_t": topics.own("health"),
            "val_tpl": "{{ value_json.temperature }}",
        });
        add("temperature", "CPU temperature", temperature);
    }
    if about.aggregate.is_some() {
        // of an entity that an earlier run has announced, the platform alone takes it away
        let tasks = about
            .tasks
            .iter()
            .map(|(task, _)| (task.as_str(), "sensor"));
        for (gone, platform) in tasks.chain([("utterance", "event"), ("faces", "sensor")]) {
            entities.insert(gone.into(), json!({ "p": platform }));
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    json!({
        "dev": {
            "ids": format!("demeanor_{id}"),
            "name": about.device,
            "mf": "demeanor",
            "mdl": about.board,
            "sw": version,
        },
        "o": { "name": "demeanor", "sw": version },
        "avty": [{ "t": topics.own("availability") }],
        "qos": 1,
        "cmps": entities,
    })
}

/// A sensor that shows the last answer of a task.
fn answer(config: &Config, topics: &Topics, task: &str, labels: &[String]) -> Value {
    let mut sensor = json!({
        "p": "sensor",
        "stat_t": topics.own(task),
        "val_tpl": "{{ value_json.label }}",
        "exp_aft": config.expire,
        "ic": "mdi:emoticon-outline",
    });
    // names in words have labels that are put together of several
    if !labels.is_empty() {
        sensor["dev_cla"] = json!("enum");
        sensor["ops"] = json!(with_unsure(labels));
    }
    if config.publish.tells(Part::Scores) {
        sensor["json_attr_t"] = json!(topics.own(task));
        sensor["json_attr_tpl"] = json!(
            "{{ {'scores': value_json.scores, 'modality': value_json.modality, \
             'time': value_json.time} | tojson }}"
        );
    }
    sensor
}

/// A sensor that shows how many answers a task gave in the last window, and which.
fn counts(topic: &str) -> Value {
    json!({
        "p": "sensor",
        "stat_t": topic,
        "val_tpl": "{{ value_json.answers }}",
        "unit_of_meas": "answers",
        "json_attr_t": topic,
        "json_attr_tpl": "{{ dict(value_json.counts, **{'from': value_json.from, \
                          'until': value_json.until}) | tojson }}",
        "ic": "mdi:chart-bar",
    })
}

fn with_unsure(labels: &[String]) -> Vec<&str> {
    let labels = labels.iter().map(String::as_str);
    labels.chain(["unsure"]).collect()
}

fn capitalised(task: &str) -> String {
    let mut letters = task.chars();
    let first = letters.next().into_iter().flat_map(char::to_uppercase);
    first.chain(letters).collect()
}
