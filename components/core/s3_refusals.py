"""Why an S3 store does not do what it is asked, in one sentence, and what to do about it.

Codes: AWS's error responses for S3, and those of MinIO, Ceph and SeaweedFS where they have their own.
"""

from __future__ import annotations

import os
from typing import Any

from components.core.errors import UserError

AGAIN = "then run again: finished work is kept."
# boto3's own: when_supported (its default) or when_required. Where it says the latter, what comes back is not checked
# either unless AWS_RESPONSE_CHECKSUM_VALIDATION says so.
CHECKSUMS, REQUIRED = "AWS_REQUEST_CHECKSUM_CALCULATION", "when_required"
NO_CHECKSUMS = (
    f"{CHECKSUMS}={REQUIRED} (for pods: the chart's --set config.s3Checksums={REQUIRED}, or the recipe's "
    f"--set 'cluster.environment.variables={{{CHECKSUMS}: {REQUIRED}}}')"
)
_WRONG_KEY = "Correct AWS_ACCESS_KEY_ID (or the profile that AWS_PROFILE names)"
_WRONG_PAIR = "Correct AWS_SECRET_ACCESS_KEY, which belongs to AWS_ACCESS_KEY_ID"
_EXPIRED = "Get new credentials with their AWS_SESSION_TOKEN; unset it where the keys are lasting ones"
_SPACE = "Free some space in the store, or raise its quota"
_BUSY = "Wait until it is less busy"
_REMEDIES = {
    "InvalidAccessKeyId": _WRONG_KEY,
    "SignatureDoesNotMatch": _WRONG_PAIR,
    "ExpiredToken": _EXPIRED,
    "InvalidToken": _EXPIRED,
    "TokenRefreshRequired": _EXPIRED,
    "RequestTimeTooSkewed": "Set this machine's clock: it differs from the store's by more than 15 minutes",
    "RequestExpired": "Set this machine's clock: it differs from the store's",
    "NoSuchBucket": "Make the bucket, or correct its name in the store's URI",
    "InvalidBucketName": "Correct the bucket's name in the store's URI",
    "QuotaExceeded": _SPACE,
    "InsufficientStorage": _SPACE,
    "XMinioStorageFull": _SPACE,
    "507": _SPACE,
    "SlowDown": _BUSY,
    "ServiceUnavailable": _BUSY,
    "503": _BUSY,
    "XAmzContentSHA256Mismatch": f"Set {NO_CHECKSUMS}: the store does not take checksums as boto3 sends them",
    "NotImplemented": f"Set {NO_CHECKSUMS}, or use a store that has all of S3: srlm doctor --only store says which",
    "501": f"Set {NO_CHECKSUMS}, or use a store that has all of S3: srlm doctor --only store says which",
}
_FORBIDDEN = {"AccessDenied", "403", "AllAccessDisabled", "AccountProblem", "Forbidden"}
_ELSEWHERE = {
    "AuthorizationHeaderMalformed",
    "PermanentRedirect",
    "TemporaryRedirect",
    "IllegalLocationConstraintException",
    "InvalidRegion",
    "IncorrectEndpoint",
    "301",
    "307",
}
# What an operation of the client needs, by IAM's names.
_RIGHTS = {
    "PutObject": "s3:PutObject",
    "CreateMultipartUpload": "s3:PutObject",
    "UploadPart": "s3:PutObject",
    "CompleteMultipartUpload": "s3:PutObject",
    "DeleteObject": "s3:DeleteObject",
    "ListObjectsV2": "s3:ListBucket",
}
_READING = (
    "s3:GetObject on its objects and s3:ListBucket on the bucket (without it an object that is not there is refused)"
)
_ENDPOINT = "Correct AWS_ENDPOINT_URL_S3, http(s)://host:port of the S3 API (not of a console)"


def refusal(uri: str, error: Exception) -> UserError:
    """boto3's error as one message: what was refused where, and the remedy for this refusal."""
    cause = error.__cause__ or error.__context__ if type(error).__name__ == "S3UploadFailedError" else error
    answered = getattr(cause, "response", None)  # None also where an answer broke off
    remedy = _of_response(cause) if answered else _of_connection(type(cause).__name__, str(cause))
    return UserError(f"the store {uri} at {endpoint()} cannot be used: {cause}", f"{remedy}; {AGAIN}")


def endpoint() -> str:
    """Where requests go, as the environment says."""
    return os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL") or "AWS"


def _of_response(error: Any) -> str:
    code = str(error.response.get("Error", {}).get("Code", ""))
    if code in _FORBIDDEN:
        right = _RIGHTS.get(error.operation_name, _READING)
        return f"Permit {right} for these credentials"
    if code in _ELSEWHERE or (code in ("400", "BadRequest") and error.operation_name.startswith("Head")):
        return f"Set AWS_REGION to the bucket's region{_region(error.response)}, and AWS_ENDPOINT_URL_S3 to match"
    return _REMEDIES.get(code, "Check that it is running and has space, the bucket's name and the AWS_* credentials")


def _region(response: Any) -> str:
    """The region that a response names, if it names one."""
    headers = response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = response.get("Error", {}).get("Region") or headers.get("x-amz-bucket-region")
    return f", {region}" if region else ""


def _of_connection(kind: str, text: str) -> str:
    """For errors without an answer of S3, by their class in botocore."""
    if kind in ("NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "TokenRetrievalError"):
        return "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or bind a role to this pod"
    if kind in ("ProfileNotFound", "ConfigParseError", "ConfigNotFound"):
        return "Correct AWS_PROFILE, or the file that AWS_CONFIG_FILE names (default: ~/.aws/config)"
    if kind == "SSLError":
        return "Set AWS_CA_BUNDLE to the file with the certificate of the authority that signed the store's"
    if kind in (
        "ResponseParserError",
        "InvalidEndpointDiscoveryConfigurationError",
        "ValueError",
        "UnknownRegionError",
    ):
        return _ENDPOINT
    if kind == "ProxyConnectionError":
        return "Correct HTTPS_PROXY, or name the store's host in NO_PROXY"
    if kind in ("FlexibleChecksumError",):
        return f"Set {NO_CHECKSUMS}: the store gives back other checksums than boto3 expects"
    if "timed out" in text or "Timeout" in kind:
        return "Check that it is running and the network between (AWS_ENDPOINT_URL_S3, proxies)"
    return "Check that it is running and AWS_ENDPOINT_URL_S3"
