"""Sets up a moto that checks rights: two buckets, one of them versioned, a role, and users.

The user "exporter" has all rights that an export needs, "assumer" may only assume the role,
"nobody" may do neither, and each "without-<right>" lacks one of the rights.

Prints one JSON object: the role's ARN, and for each user its key and secret.
"""

import json
import sys
import urllib.request

import boto3

# The rights that an export needs, as listed in docs/providers.md.
NEEDED = [
    "s3:PutObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
    "s3:GetObject",
]

endpoint, bucket, versioned_bucket = sys.argv[1:]
options = {
    "endpoint_url": endpoint,
    "region_name": "us-east-1",
    "aws_access_key_id": "maker",
    "aws_secret_access_key": "maker",
}
s3 = boto3.client("s3", **options)
for name in (bucket, versioned_bucket):
    s3.create_bucket(Bucket=name)
versioning = {"Status": "Enabled"}
s3.put_bucket_versioning(Bucket=versioned_bucket, VersioningConfiguration=versioning)
iam = boto3.client("iam", **options)


def policy(actions):
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]})


def user(name, actions):
    iam.create_user(UserName=name)
    iam.put_user_policy(UserName=name, PolicyName="p", PolicyDocument=policy(actions))
    key = iam.create_access_key(UserName=name)["AccessKey"]
    return [key["AccessKeyId"], key["SecretAccessKey"]]


trust = {
    "Version": "2012-10-17",
    "Statement": [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": "sts:AssumeRole"}],
}
role = iam.create_role(RoleName="exports", AssumeRolePolicyDocument=json.dumps(trust))
iam.put_role_policy(RoleName="exports", PolicyName="p", PolicyDocument=policy(NEEDED))
users = {
    "exporter": user("exporter", NEEDED),
    "assumer": user("assumer", ["sts:AssumeRole"]),
    "nobody": user("nobody", ["ec2:DescribeInstances"]),
}
for right in NEEDED:
    name = "without-" + right.removeprefix("s3:")
    users[name] = user(name, [other for other in NEEDED if other != right])
# From here on every request is checked.
request = urllib.request.Request(endpoint + "/moto-api/reset-auth", data=b"0", method="POST")
request.add_header("Content-Type", "text/plain")
urllib.request.urlopen(request)
print(json.dumps({"role": role["Role"]["Arn"], "users": users}))
