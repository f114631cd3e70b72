#!/bin/sh
# Compile what the tests run in Java (tests/server/java), into .cache/java. Quick when it is there.
set -eu

cd "$(dirname "$0")/.."
root=$(pwd -P)
stamp=.cache/java/complete
wanted=$(cat tests/server/java/* | cksum)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$wanted" ]; then exit 0; fi

printf '%s\n' "system: compiling an agent in Java" >&2
rm -rf .cache/java
mvn -q -B -f tests/server/java/pom.xml "-Dmaven.repo.local=$root/.cache/maven" \
  dependency:copy-dependencies "-DoutputDirectory=$root/.cache/java" >&2
java -jar .cache/java/ecj-*.jar -17 -cp "$(echo .cache/java/*.jar | tr ' ' ':')" -d .cache/java/classes \
  tests/server/java/Agent.java
printf '%s\n' "$wanted" >"$stamp"
