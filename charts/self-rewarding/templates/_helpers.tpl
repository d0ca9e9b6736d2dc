{{/* An image of ours: (list $ "worker") */}}
{{- define "srlm.image" -}}
{{- $root := index . 0 -}}
{{- $images := $root.Values.images -}}
{{- $name := printf "%s/%s:%s" $images.prefix (index . 1) ($images.tag | default $root.Chart.AppVersion) -}}
{{- if $images.registry }}{{ trimSuffix "/" $images.registry }}/{{ end }}{{ $name }}
{{- end }}

{{/* An image of an engine: (list $ "vllm"); TGI's is ours, because Hugging Face's needs root */}}
{{- define "srlm.engineImage" -}}
{{- $images := (index . 0).Values.images -}}
{{- if eq (index . 1) "tgi" }}{{ include "srlm.image" . }}
{{- else }}{{ trimSuffix "/" ($images.registry | default $images.vllm.registry) }}/{{ $images.vllm.repository }}:{{ $images.vllm.tag }}
{{- end }}
{{- end }}

{{- define "srlm.secret" -}}
{{ .Values.secret.existingSecret | default .Values.name }}
{{- end }}

{{/* The store's URI, without a slash at its end; empty where there is none */}}
{{- define "srlm.store" -}}
{{- if .Values.config.store }}{{ trimSuffix "/" .Values.config.store }}
{{- else if .Values.seaweedfs.enabled }}s3://{{ .Values.seaweedfs.bucket }}/artifacts
{{- end }}
{{- end }}

{{- define "srlm.trackingUri" -}}
{{- if .Values.config.trackingUri }}{{ .Values.config.trackingUri }}
{{- else if .Values.mlflow.enabled }}http://{{ .Values.name }}-mlflow:5000
{{- end }}
{{- end }}

{{- define "srlm.artifacts" -}}
{{- if .Values.mlflow.artifacts }}{{ .Values.mlflow.artifacts }}
{{- else }}
{{- $store := include "srlm.store" . | required "mlflow: set mlflow.artifacts, config.store or seaweedfs.enabled: the server has nowhere to put artifacts" -}}
s3://{{ index (splitList "/" (trimPrefix "s3://" $store)) 0 }}/mlflow
{{- end }}
{{- end }}

{{/* Labels of an object: (list $ "mlflow") */}}
{{- define "srlm.labels" -}}
{{- $root := index . 0 -}}
{{ include "srlm.selector" . }}
app.kubernetes.io/managed-by: {{ $root.Release.Service }}
app.kubernetes.io/version: {{ $root.Chart.AppVersion | quote }}
helm.sh/chart: {{ $root.Chart.Name }}-{{ $root.Chart.Version }}
{{- end }}

{{- define "srlm.selector" -}}
{{- $root := index . 0 -}}
app.kubernetes.io/name: self-rewarding
app.kubernetes.io/instance: {{ $root.Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* The head of a pod's spec: (list $ settings), settings with nodeSelector and tolerations or empty; true as a third
element where the pod makes servers itself */}}
{{- define "srlm.pod" -}}
{{- $root := index . 0 -}}
{{- $settings := index . 1 -}}
serviceAccountName: {{ $settings.serviceAccount | default $root.Values.serviceAccount.name }} # with a workload identity it is what may read the store
automountServiceAccountToken: {{ if gt (len .) 2 }}{{ index . 2 }}{{ else }}false{{ end }}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 65532
  runAsGroup: 65532
  fsGroup: 65532
  seccompProfile:
    type: RuntimeDefault
{{- with $root.Values.images.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $settings.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $settings.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "srlm.security" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{/* Store, registry and keys by reference; neither has to be there */}}
{{- define "srlm.environment" -}}
- configMapRef:
    name: {{ .Values.config.name }}
- secretRef:
    name: {{ include "srlm.secret" . }}
    optional: true # with a workload identity there is none
{{- end }}

{{/* A claim: (list $ "mlflow" settings accessMode) */}}
{{- define "srlm.claim" -}}
{{- $root := index . 0 -}}
{{- $settings := index . 2 -}}
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: {{ $root.Values.name }}-{{ index . 1 }}
  labels: {{- include "srlm.labels" . | nindent 4 }}
  {{- if $settings.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
spec:
  accessModes: [{{ index . 3 }}]
  {{- with $settings.storageClass }}
  storageClassName: {{ . | quote }}
  {{- end }}
  resources:
    requests:
      storage: {{ $settings.size }}
{{- end }}

{{/* A service of one port: (list $ "mlflow" port) */}}
{{- define "srlm.service" -}}
{{- $root := index . 0 -}}
apiVersion: v1
kind: Service
metadata:
  name: {{ $root.Values.name }}-{{ index . 1 }}
  labels: {{- include "srlm.labels" . | nindent 4 }}
spec:
  selector: {{- include "srlm.selector" . | nindent 4 }}
  ports:
    - name: http
      port: {{ index . 2 }}
      targetPort: http
{{- end }}
