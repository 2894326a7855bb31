"""Exports one day's orders as an Airflow task. The day is the date of the run, so that retries and
backfills export the same rows again and replace the same folder."""

from datetime import datetime, timedelta

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import DAG

# Airflow replaces {{ ds }} with the date of the run.
COMMAND = (
    "tidegate --progress never"
    " -v day={{ ds }}"
    " -v 'orders=/var/lib/orders/*.parquet'"
    " -v lake=s3://lake/orders"
    " -f /etc/tidegate/export_orders.sql"
)

with DAG(
    dag_id="export_orders",
    schedule="@daily",
    start_date=datetime(2024, 5, 1),
    catchup=True,
    default_args={
        "retries": 3,
        # After a crash of its machine, an export still holds its target for a minute.
        "retry_delay": timedelta(minutes=2),
        # Airflow ends a task with SIGTERM, which cancels the export and leaves nothing behind.
        "execution_timeout": timedelta(hours=3),
        "email": ["data-team@example.com"],
        "email_on_failure": True,
    },
) as dag:
    BashOperator(
        task_id="export",
        bash_command=COMMAND,
        env={
            "TIDEGATE_CATALOG": "/var/lib/tidegate/catalog.db",
            "TIDEGATE_KEY_FILE": "/etc/tidegate/key",
        },
        append_env=True,
    )
