package command

import (
	"context"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Nothing leaves a lab, and so no collector could be reached; what reaches one is a third of the program.

func dockerSpanExporter(context.Context, Cli) []sdktrace.TracerProviderOption { return nil }

func dockerMetricExporter(context.Context, Cli) []sdkmetric.Option { return nil }
