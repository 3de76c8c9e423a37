{{- define "exporter.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- define "exporter.fullname" -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 63 | trimSuffix "-" }}
{{- else if contains (include "exporter.name" .) .Release.Name }}
{{- .Release.Name | trunc 63 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name (include "exporter.name" .) | trunc 63 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "exporter.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "exporter.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{ include "exporter.selectorLabels" . }}
app.kubernetes.io/version: {{ .Values.image.tag | default .Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/component: exporter
app.kubernetes.io/managed-by: {{ .Release.Service }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "exporter.serviceAccountName" -}}
{{- if .Values.serviceAccount.create }}
{{- .Values.serviceAccount.name | default (include "exporter.fullname" .) }}
{{- else }}
{{- .Values.serviceAccount.name | default "default" }}
{{- end }}
{{- end }}

{{- define "exporter.image" -}}
{{- if .Values.image.digest }}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- define "exporter.configMapName" -}}
{{- if .Values.existingConfigMap }}
{{- .Values.existingConfigMap }}
{{- else if .Values.config }}
{{- include "exporter.fullname" . }}
{{- end }}
{{- end }}

{{- /* The configuration file. A ConfigMap is no place for a secret: refuse it here, before anybody stores it. */}}
{{- define "exporter.config" -}}
{{- $text := toYaml .Values.config }}
{{- range $key := list "client_secret" "certificate_password" }}
{{- if regexMatch (printf "(?m)^[ -]*%s:" $key) $text }}
{{- fail (printf "config: %s is a secret and would stand in a ConfigMap: write %s_file: /run/secrets/office365-activations-exporter/NAME, and put the content into secrets.NAME or existingSecret" $key $key) }}
{{- end }}
{{- end }}
{{- if regexMatch "(?m)^[ -]*proxy:[^\\n]*//[^/\\n]*@" $text }}
{{- fail "config: http.proxy holds a password and would stand in a ConfigMap: write proxy_file: /run/secrets/office365-activations-exporter/NAME, and put the URL into secrets.NAME or existingSecret" }}
{{- end }}
{{- $text }}
{{- end }}

{{- define "exporter.probe" -}}
{{- if .root.Values.probeOnlyPort }}
tcpSocket: {port: metrics}
{{- else }}
httpGet: {path: {{ .path }}, port: metrics, scheme: {{ .root.Values.web.tls | ternary "HTTPS" "HTTP" }}}
{{- end }}
{{- with .settings }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* One endpoint of a ServiceMonitor or a PodMonitor. */}}
{{- define "exporter.endpoint" -}}
port: metrics
path: /metrics
scheme: {{ .root.Values.web.tls | ternary "https" "http" }}
interval: {{ .settings.interval }}
scrapeTimeout: {{ .settings.scrapeTimeout }}
{{- range $key := list "tlsConfig" "basicAuth" "relabelings" "metricRelabelings" }}
{{- with get $.settings $key }}
{{ $key }}:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}
{{- end }}
