// An agent instrumented with OpenTelemetry, as its SDK for Go has it: agent CONVERSATION
//
// Where it exports to, the environment says alone: OTEL_EXPORTER_OTLP_ENDPOINT.
package main

import (
	"context"
	"encoding/json"
	"log"
	"os"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

type part map[string]any

type message struct {
	Role  string `json:"role"`
	Parts []part `json:"parts"`
}

// at is when the next step begins: each takes a quarter of a second.
var at = time.Now().Add(-10 * time.Second)

func step(ctx context.Context, tracer trace.Tracer, name string, attributes ...attribute.KeyValue) {
	_, span := tracer.Start(ctx, name, trace.WithTimestamp(at), trace.WithAttributes(attributes...))
	at = at.Add(250 * time.Millisecond)
	span.End(trace.WithTimestamp(at))
}

func said(messages ...message) string {
	text, err := json.Marshal(messages)
	if err != nil {
		log.Fatal(err)
	}
	return string(text)
}

func main() {
	conversation := os.Args[1]
	ctx := context.Background()
	exporter, err := otlptracehttp.New(ctx)
	if err != nil {
		log.Fatal(err)
	}
	provider := sdk.NewTracerProvider(sdk.WithBatcher(exporter))
	tracer := provider.Tracer("an agent")

	asked := message{"user", []part{{"type": "text", "content": "Weather, by go?"}}}
	calls := message{"assistant", []part{{
		"type": "tool_call", "id": "c1", "name": "weather", "arguments": map[string]string{"city": "X"},
	}}}
	found := message{"tool", []part{{"type": "tool_call_response", "id": "c1", "response": "sunny"}}}
	answer := message{"assistant", []part{{"type": "text", "content": "Sunny, says go."}}}
	chat := func(ctx context.Context, input, output string) {
		step(ctx, tracer, "chat gpt-5",
			attribute.String("gen_ai.operation.name", "chat"),
			attribute.String("gen_ai.provider.name", "openai"),
			attribute.String("gen_ai.request.model", "gpt-5"),
			attribute.String("gen_ai.conversation.id", conversation),
			attribute.Int("gen_ai.usage.input_tokens", 30),
			attribute.String("gen_ai.input.messages", input),
			attribute.String("gen_ai.output.messages", output))
	}

	inside, span := tracer.Start(ctx, "invoke_agent Ada", trace.WithTimestamp(at), trace.WithAttributes(
		attribute.String("gen_ai.operation.name", "invoke_agent"),
		attribute.String("gen_ai.agent.name", "Ada")))
	chat(inside, said(asked), said(calls))
	step(inside, tracer, "execute_tool weather",
		attribute.String("gen_ai.operation.name", "execute_tool"),
		attribute.String("gen_ai.tool.name", "weather"),
		attribute.String("gen_ai.tool.call.id", "c1"))
	chat(inside, said(asked, calls, found), said(answer))
	span.End(trace.WithTimestamp(at))
	if err := provider.Shutdown(ctx); err != nil {
		log.Fatal(err)
	}
}
