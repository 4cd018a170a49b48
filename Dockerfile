# One image for the pipeline and the service, with torch's build for CPUs (docs/docker.md).
#   docker build -t brmrs .
FROM python:3.12-slim-bookworm AS build
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /src
COPY requirements.txt pyproject.toml README.md LICENSE prefect.yaml prefect.toml ./
COPY configs configs
COPY brmrs brmrs
COPY tasks tasks
COPY flows flows
# The versions of requirements.txt, but torch from its index for CPUs: a tenth of the size. Its files
# are others than those whose hashes requirements.txt holds, so the hashes are not compared.
RUN uv venv /opt/brmrs && \
    uv pip install --python /opt/brmrs --no-cache --no-verify-hashes --torch-backend cpu \
        --constraint requirements.txt '.[pipeline,serve]'

FROM python:3.12-slim-bookworm
COPY --from=build /opt/brmrs /opt/brmrs
ENV PATH=/opt/brmrs/bin:$PATH \
    HOME=/tmp \
    PYTHONUNBUFFERED=1
# The folder of the project: configurations, dumps, artifacts. Mount it here.
WORKDIR /work
USER 1000:1000
ENTRYPOINT ["brmrs"]
CMD ["--help"]
