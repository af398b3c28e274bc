{{- define "queuesite.fullname" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 40 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 40 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "queuesite.selector" -}}
app.kubernetes.io/name: {{ .root.Chart.Name }}
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .component }}
{{- end -}}

{{- define "queuesite.labels" -}}
{{ include "queuesite.selector" . }}
app.kubernetes.io/version: {{ .root.Values.image.tag | default .root.Chart.AppVersion | trunc 63 | quote }}
app.kubernetes.io/managed-by: {{ .root.Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .root.Chart.Name .root.Chart.Version }}
{{- end -}}

{{- define "queuesite.serviceAccount" -}}
{{- .Values.serviceAccount.name | default (ternary (include "queuesite.fullname" .) "default" .Values.serviceAccount.create) -}}
{{- end -}}

{{- define "queuesite.image" -}}
{{- with .Values.image -}}
{{- if .digest -}}{{ .repository }}@{{ .digest }}{{- else -}}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{- end -}}
{{- end -}}
{{- end -}}

{{- /* Called with the settings of a worker, which may take SHUTDOWN_GRACE_SECONDS for its handlers, and some more to record their ends. */ -}}
{{- define "queuesite.termination" -}}
{{- add 15 (get . "SHUTDOWN_GRACE_SECONDS" | default "25" | float64 | ceil | int) -}}
{{- end -}}

{{- /* Called with selector labels: two of a role on one node would go with it. */ -}}
{{- define "queuesite.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels: {{- . | nindent 8 }}
{{- end -}}

{{- /* Called with root, container (its name), command, resources and own (settings that win over those of all). */ -}}
{{- define "queuesite.container" -}}
name: {{ .container }}
image: {{ include "queuesite.image" .root | quote }}
imagePullPolicy: {{ .root.Values.image.pullPolicy }}
command: {{ toJson .command }}
envFrom:
  - secretRef:
      name: {{ .root.Values.existingSecret }}
env:
{{- $own := dict -}}
{{- with .own }}{{ $own = . }}{{ end }}
{{- $settings := merge (deepCopy $own) (deepCopy .root.Values.config) -}}
{{- if contains "$(POD_IP)" (get $settings "ALLOWED_HOSTS" | toString) }}
  - name: POD_IP
    valueFrom:
      fieldRef:
        fieldPath: status.podIP
{{- end }}
{{- range $name, $value := $settings }}
  {{- if ne (toString $value) "" }}
  - name: {{ $name }}
    {{- /* Not toString, which writes a number like 1000000 as 1e+06. */}}
    value: {{ ternary $value (toJson $value) (kindIs "string" $value) | quote }}
  {{- end }}
{{- end }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: tmp, mountPath: /tmp}
  - {name: data, mountPath: /data}
{{- with .resources }}
resources: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end -}}

{{- /* Called with root and hook: true for a hook, which runs before the release's service account exists. */ -}}
{{- define "queuesite.pod" -}}
{{- if not .hook }}
serviceAccountName: {{ include "queuesite.serviceAccount" .root }}
{{- end }}
automountServiceAccountToken: false
{{- with .root.Values.imagePullSecrets }}
imagePullSecrets: {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  runAsNonRoot: true
  runAsUser: 1000
  runAsGroup: 1000
  fsGroup: 1000
  seccompProfile: {type: RuntimeDefault}
volumes:
  - {name: tmp, emptyDir: {}}
  - {name: data, emptyDir: {}}
{{- end -}}

{{- define "queuesite.host" -}}
{{- get .Values.config "ALLOWED_HOSTS" | toString | splitList "," | first | trim | trimPrefix "." | replace "*" "localhost" -}}
{{- end -}}

{{- /* The web server answers only to the hosts of ALLOWED_HOSTS, and redirects what did not come by TLS. */ -}}
{{- define "queuesite.live" -}}
httpGet:
  path: /api/v1/health/live
  port: http
  httpHeaders:
    - {name: Host, value: {{ include "queuesite.host" . | quote }}}
    - {name: X-Forwarded-Proto, value: https}
timeoutSeconds: 5
{{- end -}}
