#!/bin/sh
# Put the brokers of Kafka that the tests start into .cache/kafka. Quick when they are there.
set -eu

cd "$(dirname "$0")/.."
root=$(pwd -P)
stamp=.cache/kafka/complete
wanted=$(cksum tools/kafka-pom.xml)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi

printf '%s\n' "system: getting Kafka" >&2
rm -rf .cache/kafka
mvn -q -B -f tools/kafka-pom.xml "-Dmaven.repo.local=$root/.cache/maven" \
  dependency:copy-dependencies "-DoutputDirectory=$root/.cache/kafka" >&2
printf '%s\n' "$wanted" >"$stamp"
