import io.opentelemetry.api.trace.Span;
import io.opentelemetry.api.trace.Tracer;
import io.opentelemetry.context.Scope;
import io.opentelemetry.sdk.OpenTelemetrySdk;
import io.opentelemetry.sdk.autoconfigure.AutoConfiguredOpenTelemetrySdk;
import java.time.Instant;

/**
 * An agent instrumented with OpenTelemetry, as its SDK for Java has it: Agent CONVERSATION
 *
 * <p>Where it exports to, the environment says alone: OTEL_EXPORTER_OTLP_ENDPOINT.
 */
class Agent {
  static final String ASKED = message("user", "{'type': 'text', 'content': 'Weather, by java?'}");
  static final String CALLS =
      message("assistant", "{'type': 'tool_call', 'id': 'c1', 'name': 'weather', 'arguments': {'city': 'X'}}");
  static final String FOUND = message("tool", "{'type': 'tool_call_response', 'id': 'c1', 'response': 'sunny'}");
  static final String ANSWER = message("assistant", "{'type': 'text', 'content': 'Sunny, says java.'}");

  /** When the next step begins: each takes a quarter of a second. */
  static Instant at = Instant.now().minusSeconds(10);

  static String message(String role, String part) {
    return ("{'role': '" + role + "', 'parts': [" + part + "]}").replace('\'', '"');
  }

  static String said(String... messages) {
    return "[" + String.join(", ", messages) + "]";
  }

  static void step(Tracer tracer, String name, String... attributes) {
    Span span = begun(tracer, name, attributes);
    at = at.plusMillis(250);
    span.end(at);
  }

  static Span begun(Tracer tracer, String name, String... attributes) {
    var builder = tracer.spanBuilder(name).setStartTimestamp(at);
    for (int i = 0; i < attributes.length; i += 2) {
      builder.setAttribute(attributes[i], attributes[i + 1]);
    }
    return builder.startSpan();
  }

  static void chat(Tracer tracer, String conversation, String input, String output) {
    step(
        tracer, "chat gpt-5",
        "gen_ai.operation.name", "chat",
        "gen_ai.provider.name", "openai",
        "gen_ai.request.model", "gpt-5",
        "gen_ai.conversation.id", conversation,
        "gen_ai.input.messages", input,
        "gen_ai.output.messages", output);
  }

  public static void main(String[] arguments) {
    // It is ended below, once: by a hook too it would say so as the process ends, or not.
    OpenTelemetrySdk sdk =
        AutoConfiguredOpenTelemetrySdk.builder().disableShutdownHook().build().getOpenTelemetrySdk();
    Tracer tracer = sdk.getTracer("an agent");
    Span agent =
        begun(tracer, "invoke_agent Ada", "gen_ai.operation.name", "invoke_agent", "gen_ai.agent.name", "Ada");
    try (Scope inside = agent.makeCurrent()) {
      chat(tracer, arguments[0], said(ASKED), said(CALLS));
      step(
          tracer, "execute_tool weather",
          "gen_ai.operation.name", "execute_tool",
          "gen_ai.tool.name", "weather",
          "gen_ai.tool.call.id", "c1");
      chat(tracer, arguments[0], said(ASKED, CALLS, FOUND), said(ANSWER));
    }
    agent.end(at);
    sdk.close();
  }
}
