{{- define "yamabiko.name" -}}
{{- if contains "yamabiko" .Release.Name -}}
{{- .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-yamabiko" .Release.Name | trunc 63 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "yamabiko.selector" -}}
app.kubernetes.io/name: yamabiko
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "yamabiko.labels" -}}
{{ include "yamabiko.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- end -}}

{{- define "yamabiko.secret" -}}
{{- if .Values.existingSecret -}}
{{- .Values.existingSecret -}}
{{- else -}}
{{- include "yamabiko.name" . -}}
{{- end -}}
{{- end -}}
