//! What Home Assistant needs to know to show the device by itself: one retained message.

use super::report::About;
use super::topics::Topics;
use crate::config::mqtt::Mqtt as Config;
use crate::config::outputs::Part;
use serde_json::{Map, Value, json};

/// The device with its entities, in the short names of Home Assistant's device discovery.
pub fn device(config: &Config, about: &About, topics: &Topics) -> Value {
    let version = env!("CARGO_PKG_VERSION");
    json!({
        "dev": {
            "ids": format!("demeanor_{}", topics.id),
            "name": about.device,
            "mf": "demeanor",
            "mdl": about.board,
            "sw": version,
        },
        "o": { "name": "demeanor", "sw": version },
        "avty": [{ "t": topics.own("availability") }],
        "qos": 1,
        "cmps": entities(config, about, topics),
    })
}

/// Entities by their keys.
fn entities(config: &Config, about: &About, topics: &Topics) -> Map<String, Value> {
    let mut entities = Entities {
        device: &topics.id,
        all: Map::new(),
    };
    entities.add_answers(config, about, topics);
    entities.add_wishes(config, topics);
    entities.add_board(config, about, topics);
    entities.all
}

struct Entities<'a> {
    device: &'a str,
    all: Map<String, Value>,
}

impl Entities<'_> {
    /// What is told is an entity. What is not, an earlier run may have announced: the platform
    /// alone takes it away, where nothing at all would leave it there.
    fn add(&mut self, key: &str, name: &str, platform: &str, told: Option<Value>) {
        let entity = told.map_or(json!({ "p": platform }), |mut fields| {
            fields["p"] = json!(platform);
            fields["name"] = json!(name);
            fields["unique_id"] = json!(format!("demeanor_{}_{key}", self.device));
            fields
        });
        self.all.insert(key.into(), entity);
    }

    fn add_answers(&mut self, config: &Config, about: &About, topics: &Topics) {
        let are_told = config.publish.tells_answers();
        let (one_by_one, counted) = match about.aggregate {
            None => (are_told, false),
            Some(_) => (false, are_told),
        };
        for (task, labels) in &about.tasks {
            let name = capitalised(task);
            let sensor = one_by_one.then(|| answer(config, topics, task, labels));
            self.add(task, &name, "sensor", sensor);
            let sensor = counted.then(|| counts(&topics.counts(task)));
            let (key, name) = (format!("{task}_answers"), format!("{name} answers"));
            self.add(&key, &name, "sensor", sensor);
        }
        let emotion = about.tasks.iter().find(|(task, _)| task == "emotion");
        let heard = emotion.filter(|_| one_by_one).map(|(task, labels)| {
            json!({
                "evt_typ": with_unsure(labels),
                "stat_t": topics.event(task),
                "val_tpl": "{{ {'event_type': value_json.label} | tojson }}",
            })
        });
        self.add("utterance", "Utterance", "event", heard);
        let faces = json!({
            "stat_cla": "measurement",
            "stat_t": topics.own("faces"),
            "val_tpl": "{{ value_json.count }}",
            "ic": "mdi:face-recognition",
        });
        let faces = about.tells_faces(config).then_some(faces);
        self.add("faces", "Faces", "sensor", faces);
        let speaking = json!({ "stat_t": topics.own("speaking"), "ic": "mdi:account-voice" });
        let speaking = about.tells_voice(config).then_some(speaking);
        self.add("speaking", "Speaking", "binary_sensor", speaking);
    }

    fn add_wishes(&mut self, config: &Config, topics: &Topics) {
        let mute = json!({
            "cmd_t": topics.own("mute/set"),
            "stat_t": topics.own("mute"),
            "pl_on": "ON",
            "pl_off": "OFF",
            "ic": "mdi:microphone-off",
        });
        let mute = config.mute.then_some(mute);
        self.add("mute", "Mute", "switch", mute);
        let forget = json!({ "cmd_t": topics.own("forget"), "ent_cat": "config" });
        let forget = config.mute.then_some(forget);
        self.add("forget", "Forget dialogue", "button", forget);
    }

    fn add_board(&mut self, config: &Config, about: &About, topics: &Topics) {
        let flag = |class: &str, field: &str| {
            json!({
                "dev_cla": class,
                "stat_t": topics.own("state"),
                "val_tpl": format!("{{{{ 'ON' if value_json.{field} else 'OFF' }}}}"),
            })
        };
        let tells_state = config.publish.tells(Part::State);
        let capturing = tells_state.then(|| flag("running", "capturing"));
        self.add("capturing", "Capturing", "binary_sensor", capturing);
        let problem = tells_state.then(|| diagnostic(flag("problem", "problem")));
        self.add("problem", "Problem", "binary_sensor", problem);
        // a machine without a thermometer never tells one
        let has_thermometer = || (about.machine)().temperature.is_some();
        let tells_temperature = config.publish.tells(Part::Health) && has_thermometer();
        let temperature = json!({
            "dev_cla": "temperature",
            "unit_of_meas": "°C",
            "stat_cla": "measurement",
            "stat_t": topics.own("health"),
            "val_tpl": "{{ value_json.temperature }}",
        });
        let temperature = tells_temperature.then_some(diagnostic(temperature));
        self.add("temperature", "CPU temperature", "sensor", temperature);
    }
}

/// Beside what people look for.
fn diagnostic(mut entity: Value) -> Value {
    entity["ent_cat"] = json!("diagnostic");
    entity
}

/// A sensor that shows the last answer of a task.
fn answer(config: &Config, topics: &Topics, task: &str, labels: &[String]) -> Value {
    let mut sensor = json!({
        "stat_t": topics.own(task),
        // nothing is told when an answer is too old
        "val_tpl": "{{ value_json.label if value_json is defined else 'None' }}",
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
            "{{ ({'scores': value_json.scores, 'modality': value_json.modality, \
             'time': value_json.time} if value_json is defined else {}) | tojson }}"
        );
    }
    sensor
}

/// A sensor that shows how many answers a task gave in the last window, and which.
fn counts(topic: &str) -> Value {
    json!({
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
