// An agent instrumented with OpenTelemetry, as its SDK has it: MODULES KIND CONVERSATION
// Where it exports to, the environment says alone: OTEL_EXPORTER_OTLP_ENDPOINT.
import { createRequire } from "node:module";

const [modules, kind, conversation] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const { trace } = require("@opentelemetry/api");
const { BatchSpanProcessor, NodeTracerProvider } = require("@opentelemetry/sdk-trace-node");
const { OTLPTraceExporter } = require(`@opentelemetry/exporter-trace-otlp-${kind}`);

const provider = new NodeTracerProvider({ spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())] });
provider.register();
const tracer = trace.getTracer("an agent");

const said = (role, part) => ({ role, parts: [part] });
const asked = said("user", { type: "text", content: `Weather, by ${kind}?` });
const calls = said("assistant", { type: "tool_call", id: "c1", name: "weather", arguments: { city: "X" } });
const found = said("tool", { type: "tool_call_response", id: "c1", response: "sunny" });
const answer = said("assistant", { type: "text", content: `Sunny, says ${kind}.` });

// A step of a real agent takes a while; Node's clock tells spans of one millisecond in any order.
let at = Date.now() - 10_000;

function step(name, attributes) {
  tracer.startSpan(name, { attributes, startTime: at }).end((at += 250));
}

function chat(input, output) {
  step("chat gpt-5", {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.conversation.id": conversation,
    "gen_ai.usage.input_tokens": 30,
    "gen_ai.input.messages": JSON.stringify(input),
    "gen_ai.output.messages": JSON.stringify(output),
  });
}

const agent = { "gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": "Ada" };
tracer.startActiveSpan("invoke_agent Ada", { attributes: agent, startTime: at }, (span) => {
  chat([asked], [calls]);
  step("execute_tool weather", {
    "gen_ai.operation.name": "execute_tool",
    "gen_ai.tool.name": "weather",
    "gen_ai.tool.call.id": "c1",
  });
  chat([asked, calls, found], [answer]);
  span.end(at);
});
await provider.shutdown();
