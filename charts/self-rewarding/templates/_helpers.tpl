{{/* An image of ours: (list $ "worker"); without a registry the name would be somebody else's on Docker Hub */}}
{{- define "srlm.image" -}}
{{- $root := index . 0 -}}
{{- $images := $root.Values.images -}}
{{- if not (or $images.registry $images.preloaded) }}
{{- fail "images.registry is not set: name the registry that has the images (ghcr.io/you), or say images.preloaded=true where the nodes have them already (kind load docker-image)" }}
{{- end }}
{{- $name := printf "%s/%s:%s" $images.prefix (index . 1) ($images.tag | default $root.Chart.AppVersion) -}}
{{- with get $images.digests (index . 1) }}{{ $name = printf "%s@%s" $name . }}{{ end -}}
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

{{/* The head of a pod's spec: (list $ settings), settings with nodeSelector, tolerations and pod, or empty; true as a
third element where the pod makes servers itself */}}
{{- define "srlm.pod" -}}
{{- $root := index . 0 -}}
{{- $settings := index . 1 -}}
serviceAccountName: {{ $settings.serviceAccount | default $root.Values.serviceAccount.name }} # with a workload identity it is what may read the store
automountServiceAccountToken: {{ if gt (len .) 2 }}{{ index . 2 }}{{ else }}false{{ end }}
enableServiceLinks: false
securityContext: {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
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
{{- with omit $settings.pod.spec "volumes" }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A pod's labels: (list $ "mlflow" settings); a part's own before those of every pod */}}
{{- define "srlm.podLabels" -}}
{{ include "srlm.labels" . }}
{{- with mergeOverwrite (dict) (index . 0).Values.podLabels (index . 2).pod.labels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* Volumes, mounts and variables that values add: (list $ settings) */}}
{{- define "srlm.moreVolumes" -}}
{{- with (index . 0).Values.environment.caBundle.configMap }}
- name: authorities
  configMap:
    name: {{ . }}
{{- end }}
{{- with (index . 1).pod.spec.volumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "srlm.moreMounts" -}}
{{- if (index . 0).Values.environment.caBundle.configMap }}
- name: authorities
  mountPath: /etc/srlm/authorities
  readOnly: true
{{- end }}
{{- with (index . 1).pod.container.volumeMounts }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "srlm.moreEnv" -}}
{{- $environment := (index . 0).Values.environment -}}
{{- if $environment.caBundle.configMap }}
{{- range list "AWS_CA_BUNDLE" "REQUESTS_CA_BUNDLE" "SSL_CERT_FILE" }}
- name: {{ . }}
  value: /etc/srlm/authorities/{{ $environment.caBundle.file }}
{{- end }}
{{- end }}
{{- with concat $environment.env (index . 1).pod.container.env }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{/* A volume on the node's disk, up to what the part may take of it: (list $ settings) */}}
{{- define "srlm.emptyDir" -}}
{{- $limits := (index . 1).resources.limits | default dict -}}
emptyDir:
{{- with get $limits "ephemeral-storage" }}
  sizeLimit: {{ . }}
{{- else }} {}
{{- end }}
{{- end }}

{{/* A volume for models, checkpoints and caches: the same, or a claim of each pod's own, or one that is there */}}
{{- define "srlm.scratch" -}}
{{- with (index . 1).scratch }}
{{- if .claim -}}
persistentVolumeClaim:
  claimName: {{ .claim }}
{{- else if .size -}}
ephemeral:
  volumeClaimTemplate:
    spec:
      accessModes: [ReadWriteOnce]
      {{- with .storageClass }}
      storageClassName: {{ . | quote }}
      {{- end }}
      resources:
        requests:
          storage: {{ .size }}
{{- else -}}
{{ include "srlm.emptyDir" $ }}
{{- end }}
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
{{- with .Values.environment.envFrom }}
{{ toYaml . }}
{{- end }}
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
