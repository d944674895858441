{{- define "slaplanner.selector" -}}
app.kubernetes.io/name: slaplanner
app.kubernetes.io/component: operator
{{- end }}

{{- define "slaplanner.labels" -}}
{{ include "slaplanner.selector" . }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "slaplanner.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end -}}
{{- end }}

{{- define "slaplanner.subject" -}}
subjects:
  - kind: ServiceAccount
    name: slaplanner
    namespace: {{ .Release.Namespace }}
{{- end }}

{{/* Not empty where the operators choose a leader. */}}
{{- define "slaplanner.elects" -}}
{{- if or (gt (int .Values.replicas) 1) .Values.settings.leaderElection }}yes{{ end }}
{{- end }}

{{/* Objects of a file that kustomize uses too, with the labels of this release and in its namespace.
Arguments: root, file; labels: instead of those of the operator. */}}
{{- define "slaplanner.shared" -}}
{{- $text := .root.Files.Get (printf "files/%s" .file) | replace "namespace: slaplanner-system" (printf "namespace: %s" .root.Release.Namespace) }}
{{- range $document := splitList "\n---\n" $text }}
{{- $object := fromYaml $document }}
{{- $labels := merge (dict) ($.labels | default dict) (include "slaplanner.labels" $.root | fromYaml) ($object.metadata.labels | default dict) }}
{{- $_ := set $object.metadata "labels" $labels }}
{{- if $.labels }}
{{- $_ := set $object.metadata "namespace" $.root.Release.Namespace }}
{{- end }}
---
{{ toYaml $object }}
{{- end }}
{{- end }}
