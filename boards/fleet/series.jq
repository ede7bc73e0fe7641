# Messages of boards (`mosquitto_sub -F %j`) to lines of InfluxDB's protocol, a number a field.
# What is no board's message, or not what it should be, gives no line.

# a number or a flag of an object, as a field
def field($name):
  .[$name] | if type == "number" then "\($name)=\(.)"
  elif type == "boolean" then "\($name)=\(if . then 1 else 0 end)"
  else empty end;

# a name as a tag: one with a line's end or a comma in it could write lines of its own
def tag($name): strings | select(test("^[\\w.+-]{1,64}$")) | ",\($name)=\(.)";

def line($tags; $fields):
  if $fields == [] then empty else "demeanor\($tags) \($fields | join(","))" end;

(.topic / "/") as $at | .payload as $text
| select($at[0] == "demeanor") | ($at[1] | tag("device")) as $device
| (($text | fromjson? | objects) // {})
| if $at[2:] == ["availability"] then
    line($device; ["online=\(if $text == "online" then 1 else 0 end)"])
  elif $at[2:] == ["health"] then
    line($device; [field("temperature", "throttled", "rss_kb", "uptime_s", "lost", "connections")])
  elif $at[2:] == ["state"] then
    line($device; [field("capturing", "muted"), "problem=\(if .problem then 1 else 0 end)"])
  elif $at[2] == "event" then
    line($device + (.task | tag("task")) + (.label | tag("label")); ["answer=1"])
  else empty end
