// Package lessons holds what a lesson is (a folder of YAML and Markdown), reads it, says what is wrong in it with file, line and remedy, and
// judges its checks over a read-only World. It also holds the content, and the text about how a lab differs from a real system.
//
// It does not know labs, HTTP or Kubernetes' Go types: objects are JSON-shaped maps, and a lab is whatever implements World.
//
// Sentences live in the lesson's own files in Korean and English; the judge answers with message codes and parameters.
package lessons
