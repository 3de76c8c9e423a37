{{- define "exporter.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 63 | trimSuffix "-" }}
{{- end }}

{{- /* At most 52 characters: a StatefulSet's pods carry its name and a hash in a label of 63. */}}
{{- define "exporter.fullname" -}}
{{- $name := include "exporter.name" . }}
{{- $full := contains $name .Release.Name | ternary .Release.Name (printf "%s-%s" .Release.Name $name) }}
{{- .Values.fullnameOverride | default $full | trunc 52 | trimSuffix "-" }}
{{- end }}

{{- define "exporter.namespace" -}}
{{- .Values.namespaceOverride | default .Release.Namespace }}
{{- end }}

{{- define "exporter.selectorLabels" -}}
app.kubernetes.io/name: {{ include "exporter.name" . | quote }}
app.kubernetes.io/instance: {{ .Release.Name | quote }}
{{- end }}

{{- /* Labels of pods and claims: no versions, which would replace pods and cannot change in a claim template. */}}
{{- define "exporter.podLabels" -}}
{{- $standard := include "exporter.selectorLabels" .root | fromYaml }}
{{- $_ := set $standard "app.kubernetes.io/component" "exporter" }}
{{- mergeOverwrite (deepCopy (.root.Values.commonLabels | default dict)) (.extra | default dict) $standard | toYaml }}
{{- end }}

{{- /* Labels of everything else; .extra is added, the standard labels win over what users give. */}}
{{- define "exporter.labels" -}}
{{- $labels := include "exporter.podLabels" . | fromYaml }}
{{- $_ := set $labels "helm.sh/chart" (printf "%s-%s" .root.Chart.Name .root.Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-") }}
{{- $_ := set $labels "app.kubernetes.io/version" (.root.Chart.AppVersion | replace "+" "_" | trunc 63) }}
{{- $_ := set $labels "app.kubernetes.io/managed-by" .root.Release.Service }}
{{- toYaml $labels }}
{{- end }}

{{- /* metadata of an object: root, and optionally suffix, namespace, labels, annotations. */}}
{{- define "exporter.metadata" -}}
name: {{ include "exporter.fullname" .root }}{{ with .suffix }}-{{ . }}{{ end }}
namespace: {{ .namespace | default (include "exporter.namespace" .root) | quote }}
labels:
  {{- include "exporter.labels" (dict "root" .root "extra" .labels) | nindent 2 }}
{{- with .annotations }}
annotations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "exporter.serviceAccountName" -}}
{{- .Values.serviceAccount.name | default (.Values.serviceAccount.create | ternary (include "exporter.fullname" .) "default") }}
{{- end }}

{{- define "exporter.image" -}}
{{- $image := printf "%s/%s" (.Values.global.imageRegistry | default .Values.image.registry) .Values.image.repository }}
{{- if .Values.image.digest }}
{{- printf "%s@%s" $image .Values.image.digest }}
{{- else }}
{{- printf "%s:%s" $image (.Values.image.tag | default .Chart.AppVersion) }}
{{- end }}
{{- end }}

{{- define "exporter.pullSecrets" -}}
{{- with concat (.Values.global.imagePullSecrets | default list) (.Values.imagePullSecrets | default list) }}{{ toYaml . }}{{ end }}
{{- end }}

{{- define "exporter.configMapName" -}}
{{- if .Values.existingConfigMap }}
{{- .Values.existingConfigMap }}
{{- else if or .Values.config .Values.tenantsSecret }}
{{- include "exporter.fullname" . }}
{{- end }}
{{- end }}

{{- define "exporter.config" -}}
{{- $config := deepCopy (.Values.config | default dict) }}
{{- if .Values.tenantsSecret }}
{{- $_ := set $config "tenant_files" (append ($config.tenant_files | default list) "/etc/office365-activations-exporter/tenants/*.yml") }}
{{- end }}
{{- toYaml $config }}
{{- end }}

{{- define "exporter.webConfig" -}}
{{- $config := deepCopy (.Values.web.config | default dict) }}
{{- if and .Values.web.tls.existingSecret (not .Values.web.existingSecret) }}
{{- $files := dict "cert_file" "/etc/office365-activations-exporter/tls/tls.crt" "key_file" "/etc/office365-activations-exporter/tls/tls.key" }}
{{- $_ := set $config "tls_server_config" (merge ($config.tls_server_config | default dict) $files) }}
{{- end }}
{{- with $config }}{{ toYaml . }}{{ end }}
{{- end }}

{{- define "exporter.webSecretName" -}}
{{- if .Values.web.existingSecret }}
{{- .Values.web.existingSecret }}
{{- else if include "exporter.webConfig" . }}
{{- printf "%s-web" (include "exporter.fullname" .) }}
{{- end }}
{{- end }}

{{- define "exporter.scheme" -}}
{{- $config := include "exporter.webConfig" . | fromYaml }}
{{- or .Values.web.tls.enabled (hasKey $config "tls_server_config") | ternary "https" "http" }}
{{- end }}

{{- define "exporter.clientAuth" -}}
{{- $tls := (include "exporter.webConfig" . | fromYaml).tls_server_config | default dict }}
{{- if or .Values.web.tls.clientAuth (has $tls.client_auth_type (list "RequireAnyClientCert" "RequireAndVerifyClientCert")) }}true{{ end }}
{{- end }}

{{- /* The prefix of all paths, without a slash at its end. */}}
{{- define "exporter.prefix" -}}
{{- $path := .Values.web.routePrefix | default (get (urlParse (.Values.web.externalUrl | default "http://x")) "path") | trimAll "/" }}
{{- with $path }}/{{ . }}{{ end }}
{{- end }}

{{- /* A probe: path and settings. A handler in the settings replaces the chart's. */}}
{{- define "exporter.probe" -}}
{{- $handler := dict }}
{{- if not (or .settings.exec .settings.httpGet .settings.tcpSocket .settings.grpc) }}
{{- if include "exporter.clientAuth" .root }}
{{- $handler = dict "tcpSocket" (dict "port" "metrics") }}
{{- else }}
{{- $path := printf "%s%s" (include "exporter.prefix" .root) .path }}
{{- $handler = dict "httpGet" (dict "path" $path "port" "metrics" "scheme" (include "exporter.scheme" .root | upper)) }}
{{- end }}
{{- end }}
{{- merge $handler .settings | toYaml }}
{{- end }}

{{- /* The spec of a ServiceMonitor (key endpoints) or PodMonitor (key podMetricsEndpoints): root, settings, key. */}}
{{- define "exporter.monitor" -}}
{{- $settings := .settings }}
{{- with .settings.jobLabel }}
jobLabel: {{ . | quote }}
{{- end }}
{{- range list "targetLabels" "podTargetLabels" "scrapeClass" "sampleLimit" "targetLimit" "labelLimit" "labelNameLengthLimit" "labelValueLengthLimit" }}
{{- if and (get $settings .) (not (and (eq . "targetLabels") (eq $.key "podMetricsEndpoints"))) }}
{{ . }}: {{ get $settings . | toJson }}
{{- end }}
{{- end }}
selector:
  matchLabels:
    {{- include "exporter.selectorLabels" .root | nindent 4 }}
namespaceSelector:
  matchNames: [{{ include "exporter.namespace" .root | quote }}]
{{ .key }}:
  - port: metrics
    path: {{ printf "%s%s" (include "exporter.prefix" .root) .root.Values.web.telemetryPath | quote }}
    scheme: {{ include "exporter.scheme" .root }}
    {{- range list "interval" "scrapeTimeout" "honorLabels" "proxyUrl" "tlsConfig" "basicAuth" "relabelings" "metricRelabelings" }}
    {{- if get $settings . }}
    {{ . }}: {{ get $settings . | toJson }}
    {{- end }}
    {{- end }}
{{- end }}

{{- /* What would end in a broken release is refused here, with what to set. */}}
{{- define "exporter.validate" -}}
{{- $v := .Values }}
{{- $named := or $v.config $v.existingConfigMap $v.tenantsSecret }}
{{- if and $v.demo (or $named $v.workloadIdentity.enabled) }}
{{- fail "demo: true runs a simulation and takes no configuration: remove demo, or config, existingConfigMap, tenantsSecret and workloadIdentity" }}
{{- end }}
{{- if not (or $v.demo $named $v.env $v.envFrom $v.workloadIdentity.enabled) }}
{{- fail "no tenant is configured: set config.tenants (or existingConfigMap, tenantsSecret), or env with AZURE_TENANT_ID, AZURE_CLIENT_ID and a credential, or workloadIdentity; demo: true shows simulated tenants" }}
{{- end }}
{{- if and $v.config $v.existingConfigMap }}
{{- fail "config and existingConfigMap exclude each other: remove one" }}
{{- end }}
{{- if and $v.web.config $v.web.existingSecret }}
{{- fail "web.config and web.existingSecret exclude each other: remove one" }}
{{- end }}
{{- if and $v.serviceMonitor.enabled $v.podMonitor.enabled }}
{{- fail "serviceMonitor and podMonitor together would scrape every pod twice: enable one" }}
{{- end }}
{{- if and $v.persistence.enabled $v.persistence.existingClaim (gt (int $v.replicas) 1) }}
{{- fail "persistence.existingClaim is for one replica: the storage belongs to one exporter; remove it or set replicas to 1" }}
{{- end }}
{{- $name := include "exporter.fullname" . }}
{{- if not (regexMatch "^[a-z]([a-z0-9-]*[a-z0-9])?$" $name) }}
{{- fail (printf "a Service cannot have the name %s, which this release's name makes: it has to begin with a letter and to contain letters, digits and hyphens only; set fullnameOverride" $name) }}
{{- end }}
{{- include "exporter.refuseSecrets" (dict "at" "config" "value" $v.config) }}
{{- range $v.env }}
{{- if and (hasKey . "value") (or (regexMatch "(?i)(CLIENT_SECRET|CERTIFICATE_PASSWORD)$" .name) (regexMatch "//[^/]*@" (toString .value)) (regexMatch "\"(client_secret|certificate_password)\"" (toString .value))) }}
{{- fail (printf "env: %s is a secret in clear text: write valueFrom: {secretKeyRef: {name: SECRET, key: KEY}} in place of value" .name) }}
{{- end }}
{{- end }}
{{- end }}

{{- /* A ConfigMap is no place for a secret: refuse it before anybody stores it; its value is never printed. */}}
{{- define "exporter.refuseSecrets" -}}
{{- $at := .at }}
{{- if kindIs "map" .value }}
{{- range $key, $value := .value }}
{{- if or (has $key (list "client_secret" "certificate_password")) (and (eq $key "proxy") (regexMatch "//[^/]*@" (toString $value))) }}
{{- fail (printf "%s.%s is a secret and would stand in a ConfigMap: write %s_file: /run/secrets/office365-activations-exporter/NAME, and put the content into secrets.NAME or existingSecret" $at $key $key) }}
{{- end }}
{{- include "exporter.refuseSecrets" (dict "at" (printf "%s.%s" $at $key) "value" $value) }}
{{- end }}
{{- else if kindIs "slice" .value }}
{{- range $index, $value := .value }}
{{- include "exporter.refuseSecrets" (dict "at" (printf "%s[%d]" $at $index) "value" $value) }}
{{- end }}
{{- end }}
{{- end }}
